"""Submits one message without Date and Message-ID: submit.py PORT starttls|tls|starttls-anonymous USER PASSWORD RECIPIENT"""
import smtplib
import ssl
import sys

port, mode, user, password, recipient = int(sys.argv[1]), *sys.argv[2:6]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if mode == "tls":
    client = smtplib.SMTP_SSL("127.0.0.1", port, timeout=30, context=context)
else:
    client = smtplib.SMTP("127.0.0.1", port, timeout=30)
    client.starttls(context=context)
if user:
    client.login(user, password)
client.sendmail(user or "x@example.test", [recipient], "From: %s\r\nSubject: submitted\r\n\r\nbody\r\n" % user)
client.quit()
