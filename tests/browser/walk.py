#!/usr/bin/env python3
"""The guide's final test, and what follows from it, as a person does it: walk.py PLAN

PLAN is JSON: the addresses of the pages, the driver, the folder for the pictures. Each step is one function, in order.
"""

import json
import os
import re
import sys

from browser import Browser

ADMIN, ADMIN_PASSWORD = "admin@example.test", "admin-pass12"
ANN, FIRST_PASSWORD, SECOND_PASSWORD = "ann@example.test", "first-pass34", "second-pass56"
ENTER = "\ue007"


def set_up_postfixadmin(b, plan):
    b.go(plan["postfixadmin"] + "/setup.php")
    b.type("form[name=authenticate] input[name=setup_password]", plan["setup_password"])
    b.click("form[name=authenticate] button")
    b.shows("Database is up to date")
    b.type("input[name=setup_password]", plan["setup_password"])
    b.type("input[name=username]", ADMIN)
    b.type("input[name=password]", ADMIN_PASSWORD)
    b.type("input[name=password2]", ADMIN_PASSWORD)
    b.click("button[value=createadmin]")
    b.shows("has been added")


def log_in_to_postfixadmin(b, plan):
    b.go(plan["postfixadmin"] + "/login.php")
    b.type("input[name=fUsername]", ADMIN)
    b.type("input[name=fPassword]", ADMIN_PASSWORD)
    b.click("button[type=submit]")
    b.shows("Logout")


def add_domain(b, plan):
    b.go(plan["postfixadmin"] + "/edit.php?table=domain")
    b.type("input[name='value[domain]']", "example.test")
    b.type("input[name='value[description]']", "The test's own")
    b.click("input[name=submit]")
    b.shows("example.test has been added")


def add_mailbox(b, plan):
    b.go(plan["postfixadmin"] + "/edit.php?table=mailbox&domain=example.test")
    b.type("input[name='value[local_part]']", "ann")
    b.type("input[name='value[password]']", FIRST_PASSWORD)
    b.type("input[name='value[password2]']", FIRST_PASSWORD)
    b.type("input[name='value[name]']", "Ann Lee")
    b.type("input[name='value[quota]']", "100")
    b.click("input[name=submit]")
    b.shows("ann@example.test.* has been added")


def add_alias(b, plan):
    b.go(plan["postfixadmin"] + "/edit.php?table=alias&domain=example.test")
    b.type("input[name='value[localpart]']", "info")
    b.type("textarea[name='value[goto]']", ANN)
    b.click("input[name=submit]")
    b.shows("info@example.test.* has been created")


def log_in_to_roundcube(b, plan, password=FIRST_PASSWORD):
    b.go(plan["roundcube"] + "/")
    # Whoever was logged in is not any more.
    b.call("DELETE", "/cookie")
    b.go(plan["roundcube"] + "/")
    b.type("#rcmloginuser", ANN)
    b.type("#rcmloginpwd", password)
    b.click("#rcmloginsubmit")


def see_inbox(b, plan):
    log_in_to_roundcube(b, plan)
    b.shows("Inbox", "#folderlist-content")


def has_welcome_mail(b, plan):
    """PostfixAdmin sent it through our port 25 when it made the mailbox."""
    message(b, plan, "Welcome")


def message(b, plan, subject, mailbox="INBOX"):
    """Waits until the mailbox lists a message, and gives its row."""
    def look():
        b.go(f"{plan['roundcube']}/?_task=mail&_mbox={mailbox}")
        b.find("#messagelist")
        find = "return [...document.querySelectorAll('#messagelist tr.message')].filter(r => r.innerText.includes(arguments[0])).map(r => r.id)[0]"
        return b.run(find, subject)
    return b.until(f"a message {subject} in {mailbox}", look)


def open_message(b, plan, subject, mailbox="INBOX"):
    row = message(b, plan, subject, mailbox)
    b.go(b.run("return document.querySelector(arguments[0] + ' td.subject a').href", f"#{row}"))
    b.shows(re.escape(subject))


def to(b, address):
    b.click("#compose_to .recipient-input input, #compose_to input")
    b.type("#compose_to .recipient-input input, #compose_to input", address + ",")


def send(b):
    b.click("a.send, button.send")
    b.until("the message to be sent", lambda: "_action=compose" not in b.call("GET", "/url"))


def send_to_oneself(b, plan):
    b.go(plan["roundcube"] + "/?_task=mail&_action=compose")
    to(b, ANN)
    b.type("#compose-subject", "Premier message à moi")
    b.type("#composebody", "Bonjour, ça marche.\n.\nEnd.")
    b.picture("compose")
    send(b)


def see_it_arrive(b, plan):
    open_message(b, plan, "Premier message à moi")
    b.shows("Bonjour, ça marche.", "#messagebody")


def reply(b, plan):
    open_message(b, plan, "Premier message à moi")
    b.click("a.reply")
    b.until("the reply", lambda: "_action=compose" in b.call("GET", "/url"))
    b.until("the quotation", lambda: "ça marche" in b.run("return document.querySelector('#composebody').value"))
    b.run("document.querySelector('#composebody').value += '\\nAnswered.'")
    send(b)
    open_message(b, plan, "Re: Premier message à moi")
    b.shows("Answered.", "#messagebody")


def is_answered(b, plan):
    message(b, plan, "Premier message à moi")
    # An icon, so nothing that has a size.
    b.until("the sign of an answer", lambda: b.run("return document.querySelectorAll('#messagelist .replied').length") == 1)


def attach(b, plan):
    b.go(plan["roundcube"] + "/?_task=mail&_action=compose")
    to(b, "info@example.test")
    b.type("#compose-subject", "With a file")
    b.type("#composebody", "See below.")
    b.file("input[name='_attachments[]']", plan["attachment"])
    b.shows(os.path.basename(plan["attachment"]), "#attachment-list")
    b.picture("attached")
    send(b)
    open_message(b, plan, "With a file")
    b.shows(os.path.basename(plan["attachment"]), "#attachment-list")


def download(b, plan):
    """What comes back is what was sent."""
    script = """const a = document.querySelector('#attachment-list a.filename').href.replace('_action=show', '_action=get') + '&_download=1';
        const request = new XMLHttpRequest(); request.open('GET', a, false); request.overrideMimeType('text/plain; charset=x-user-defined');
        request.send(); return [...request.responseText].map(c => c.charCodeAt(0) & 255)"""
    with open(plan["attachment"], "rb") as file:
        assert bytes(b.run(script)) == file.read()


def search(b, plan):
    b.go(plan["roundcube"] + "/?_task=mail&_mbox=INBOX")
    b.find("#messagelist tr.message")
    b.type("#mailsearchform", "file" + ENTER)
    b.until("one message", lambda: b.run("return document.querySelectorAll('#messagelist tr.message').length") == 1)
    b.shows("With a file", "#messagelist")


def move_to_trash(b, plan):
    row = message(b, plan, "With a file")
    b.click(f"#{row} td.subject")
    # While the message is being shown, the page takes no commands.
    b.frame("#messagecontframe")
    b.shows("See below.", "#messagebody")
    b.out_of_frames()
    b.click("#toolbar-menu a.delete:not(.disabled), .toolbar a.delete:not(.disabled)")
    gone = "return ![...document.querySelectorAll('#messagelist tr.message')].some(r => r.offsetParent && r.innerText.includes('With a file'))"
    b.until("the message to leave", lambda: b.run(gone))
    message(b, plan, "With a file", "Trash")


def create_folder(b, plan):
    b.go(plan["roundcube"] + "/?_task=settings&_action=folders")
    b.click("a.create")
    b.frame("#preferences-frame")
    b.type("input[name=_name]", "Été 2026")
    b.click("button.submit")
    b.out_of_frames()
    b.shows("Été 2026", "#subscription-table")


def see_quota(b, plan):
    b.go(plan["roundcube"] + "/?_task=mail&_mbox=INBOX")
    b.shows(r"\d+%", "#quotadisplay")


def unknown_recipient(b, plan):
    """Our refusal is shown to the person."""
    b.go(plan["roundcube"] + "/?_task=mail&_action=compose")
    to(b, "nobody@example.test")
    b.type("#compose-subject", "To nobody")
    b.type("#composebody", "Hello?")
    b.click("a.send, button.send")
    b.shows("550|SMTP Error", "#messagestack")


def change_password(b, plan):
    """In PostfixAdmin's pages for users."""
    b.go(plan["postfixadmin"] + "/users/login.php")
    b.type("input[name=fUsername]", ANN)
    b.type("input[name=fPassword]", FIRST_PASSWORD)
    b.click("button[type=submit], input[type=submit]")
    b.go(plan["postfixadmin"] + "/users/password.php")
    b.type("input[name=fPassword_current]", FIRST_PASSWORD)
    b.type("input[name=fPassword]", SECOND_PASSWORD)
    b.type("input[name=fPassword2]", SECOND_PASSWORD)
    b.click("button[type=submit], input[type=submit]")
    b.shows("password for .* has been changed")


def old_password_is_refused(b, plan):
    log_in_to_roundcube(b, plan, FIRST_PASSWORD)
    b.shows("Login failed")


def new_password_holds(b, plan):
    log_in_to_roundcube(b, plan, SECOND_PASSWORD)
    b.shows("Inbox", "#folderlist-content")


STEPS = [
    set_up_postfixadmin, log_in_to_postfixadmin, add_domain, add_mailbox, add_alias, see_inbox, has_welcome_mail, send_to_oneself,
    see_it_arrive, reply, is_answered, attach, download, search, move_to_trash, create_folder, see_quota, unknown_recipient,
    change_password, old_password_is_refused, new_password_holds,
]


def main():
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    wanted = sys.argv[2:]
    browser = Browser(plan["driver"], plan["driver_port"], plan["pictures"])
    try:
        for step in STEPS:
            name = step.__name__.replace("_", "-")
            if wanted and name not in wanted:
                continue
            try:
                step(browser, plan)
            except Exception:
                browser.picture(f"{name}-failed")
                print(browser.text()[-3000:], flush=True)
                raise
            browser.picture(name)
    finally:
        browser.close()


if __name__ == "__main__":
    main()
