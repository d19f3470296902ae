"""Reads by imaplib and poplib over TLS: read.py IMAPS POP3S USER PASSWORD. Three messages are in INBOX. Prints `all well`."""
import imaplib
import poplib
import ssl
import sys

imaps, pop3s, user, password = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

imap = imaplib.IMAP4_SSL("127.0.0.1", imaps, ssl_context=context, timeout=30)
imap.login(user, password)
assert imap.select("INBOX")[1] == [b"3"]
assert imap.search(None, 'SUBJECT', '"number 1"')[1][0].split() == [b"2"]
status, data = imap.fetch("1:*", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODYSTRUCTURE)")
assert status == "OK" and len([d for d in data if isinstance(d, tuple)]) == 3
assert imap.store("2", "+FLAGS", r"(\Flagged $Work)")[0] == "OK"
assert imap.search(None, "KEYWORD", "$Work")[1][0] == b"2"
assert imap.create("Box")[0] == "OK" and imap.copy("1:2", "Box")[0] == "OK"
assert imap.status("Box", "(MESSAGES)")[1][0].endswith(b"(MESSAGES 2)")
assert imap.append("Box", r"(\Seen)", imaplib.Time2Internaldate(1700000000), b"Subject: appended\r\n\r\nx\r\n")[0] == "OK"
imap.select("Box")
assert b'INTERNALDATE "14-Nov-2023' in imap.fetch("3", "(INTERNALDATE FLAGS)")[1][0]
assert imap.uid("STORE", "1", "+FLAGS", r"(\Deleted)")[0] == "OK"
assert imap.expunge()[1] == [b"1"]
imap.close()
imap.logout()

pop = poplib.POP3_SSL("127.0.0.1", pop3s, context=context, timeout=30)
pop.user(user)
pop.pass_(password)
assert pop.stat()[0] == 3
assert len({line.split()[1] for line in pop.uidl()[1]}) == 3
assert b"body 1" in pop.retr(2)[1]
assert b"body 1" not in pop.top(2, 0)[1]
pop.dele(3)
pop.quit()
pop = poplib.POP3_SSL("127.0.0.1", pop3s, context=context, timeout=30)
pop.user(user)
pop.pass_(password)
assert pop.stat()[0] == 2
pop.quit()
print("all well")
