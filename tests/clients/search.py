"""Searches INBOX by imaplib over TLS: search.py IMAPS USER PASSWORD. Prints a line for each search: what it found."""
import imaplib
import ssl
import sys

port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

imap = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=30)
imap.login(user, password)
imap.select("INBOX")
for criteria in [
    ("TEXT", "harvest"),
    ("BODY", '"Rendez-vous"'),
    ("SUBJECT", "harvest"),
    ("NOT", "TEXT", "harvest"),
    ("HEADER", "X-Number", "7"),
    ("TEXT", "x-number"),
    ("BODY", "x-number"),
    ("TEXT", "nowhere"),
]:
    print(*criteria, imap.uid("SEARCH", *criteria)[1][0].decode())
assert "SEARCH=FUZZY" in imap.capabilities or "SEARCH=FUZZY" in imap.capability()[1][0].decode()
print("FUZZY", imap.uid("SEARCH", "FUZZY", "TEXT", "havrest")[1][0].decode())
print("SORT", imap.uid("SORT", "(RELEVANCY)", "UTF-8", "FUZZY", "TEXT", "harvests")[1][0].decode())
imap.logout()
