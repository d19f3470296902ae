"""What programs do with the IMAPClient library: imapclient_ops.py IMAPS USER PASSWORD. INBOX is empty. Prints `all well`."""
import ssl
import sys
from datetime import datetime

from imapclient import IMAPClient

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def session():
    client = IMAPClient("127.0.0.1", port=port, ssl=True, ssl_context=context, timeout=30)
    client.login(user, password)
    return client


def text(subject, more=""):
    return f"From: ann@example.test\r\nSubject: {subject}\r\n{more}\r\nbody of {subject}\r\n".encode()


one, two = session(), session()
assert one.has_capability("IDLE") and one.has_capability("CONDSTORE") and one.has_capability("MOVE")
assert one.namespace().personal[0][1] == "."
one.select_folder("INBOX")

# IDLE: another client's message comes by itself
one.idle()
uid = two.append("INBOX", text("first", "Message-ID: <1@x>\r\n"), flags=[rb"\Seen"], msg_time=datetime(2023, 11, 14))
assert b"APPENDUID" in uid
heard = []
while not any(len(told) > 1 and told[1] == b"EXISTS" for told in heard):
    told = one.idle_check(timeout=20)
    assert told, heard
    heard += told
one.idle_done()

two.append("INBOX", text("Re: first", "Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\nReferences: <1@x>\r\n"))
two.append("INBOX", text("another Été".encode("utf-8").decode("latin-1"), ""))
one.noop()
assert one.search("ALL") == [1, 2, 3]
assert one.search(["SUBJECT", "first"]) == [1, 2]
assert one.sort("ARRIVAL") == [1, 2, 3] and one.sort("SUBJECT") == [3, 1, 2]
assert one.thread("REFERENCES") in (((1, 2), (3,)), [(1, 2), (3,)])
envelope = one.fetch([1], ["ENVELOPE", "INTERNALDATE", "FLAGS", "RFC822.SIZE"])[1]
assert envelope[b"ENVELOPE"].subject == b"first" and envelope[b"INTERNALDATE"].year == 2023
assert envelope[b"RFC822.SIZE"] == len(text("first", "Message-ID: <1@x>\r\n"))

# as Gmail's clients do: star, label (copy), archive (move), trash
assert {rb"\Seen", rb"\Flagged", b"$Important"} <= set(one.add_flags([1], [rb"\Flagged", b"$Important"])[1])
for folder in ("Labels.Work", "All Mail"):
    one.create_folder(folder)
one.copy([1], "Labels.Work")
one.move([1, 2], "All Mail")
assert one.search("ALL") == [3]
assert two.folder_status("All Mail", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 2, b"UNSEEN": 1}
names = {name for _, _, name in one.list_folders()}
assert {"Labels.Work", "All Mail", "INBOX"} <= names
assert one.find_special_folder(rb"\Trash") == "Trash"
one.move([3], "Trash")
assert one.search("ALL") == []

# CONDSTORE: what changed since, and a change on condition
one.select_folder("All Mail")
two.select_folder("All Mail")
seen = one.folder_status("All Mail", ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"]
two.add_flags([2], [rb"\Answered"])
changed = one.fetch([1, 2], ["FLAGS"], [f"CHANGEDSINCE {seen}"])
assert list(changed) == [2] and rb"\Answered" in changed[2][b"FLAGS"]
assert changed[2][b"MODSEQ"][0] > seen

two.delete_messages([1])
two.expunge()
one.noop()
assert one.search("ALL") == [2]
assert one.rename_folder("Labels.Work", "Labels.Play") and one.folder_exists("Labels.Play")
one.delete_folder("Labels.Play")
assert not one.folder_exists("Labels.Play")
one.logout()
two.logout()
print("all well")
