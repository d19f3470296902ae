// What programs do with the imapflow library: imapflow_ops.cjs IMAPS USER PASSWORD. INBOX is empty. Prints `all well`.
const assert = require("node:assert");
const { ImapFlow } = require("imapflow");

const [port, user, pass] = process.argv.slice(2);
const settings = {
    host: "127.0.0.1", port: Number(port), secure: true, auth: { user, pass }, logger: false, tls: { rejectUnauthorized: false }, qresync: true,
    disableAutoIdle: true,
};
const text = (subject) => `From: ann@example.test\r\nSubject: ${subject}\r\n\r\nbody of ${subject}\r\n`;
const event = (client, name) => new Promise((told) => client.once(name, told));

async function main() {
    const [one, two] = [new ImapFlow(settings), new ImapFlow(settings)];
    await Promise.all([one.connect(), two.connect()]);
    assert(one.enabled.has("QRESYNC") || one.enabled.has("CONDSTORE"), [...one.enabled].join());
    await one.mailboxOpen("INBOX");

    const came = event(one, "exists");
    const idling = one.idle();
    const appended = await two.append("INBOX", text("first"), ["\\Seen"], new Date("2023-11-14T12:00:00Z"));
    assert.strictEqual(appended.uid, 1);
    assert.strictEqual((await came).count, 1);
    await two.append("INBOX", text("second"));
    await two.append("INBOX", text("third"), ["$Work"]);
    await one.noop();
    await idling;

    const messages = [];
    for await (const message of one.fetch("1:*", { uid: true, flags: true, envelope: true, bodyStructure: true, source: true, internalDate: true })) {
        messages.push(message);
    }
    assert.deepStrictEqual(messages.map((message) => message.envelope.subject), ["first", "second", "third"]);
    assert.strictEqual(messages[0].source.toString(), text("first"));
    assert.strictEqual(messages[0].internalDate.getUTCFullYear(), 2023);
    assert(messages[2].flags.has("$Work") && messages[0].bodyStructure.type === "text/plain");
    assert.deepStrictEqual(await one.search({ subject: "second" }, { uid: true }), [2]);

    // the other client's changes, as they happen
    const since = one.mailbox.highestModseq;
    await two.mailboxOpen("INBOX");
    const flagged = event(one, "flags");
    await two.messageFlagsAdd("2", ["\\Flagged"], { uid: true });
    await one.noop();
    assert((await flagged).flags.has("\\Flagged"));
    const changed = [];
    for await (const message of one.fetch("1:*", { uid: true, flags: true }, { uid: true, changedSince: since })) {
        changed.push(message.uid);
    }
    assert(changed.includes(2), changed.join());
    const gone = event(one, "expunge");
    await two.messageDelete("1", { uid: true });
    await one.noop();
    const removed = await gone;
    assert(removed.uid === 1 || removed.seq === 1, JSON.stringify(removed));

    await one.mailboxCreate("Archive.2026");
    const moved = await one.messageMove("2", "Archive.2026", { uid: true });
    assert.strictEqual(moved.uidMap.get(2), 1);
    await one.messageCopy("3", "Archive.2026", { uid: true });
    const status = await one.status("Archive.2026", { messages: true, highestModseq: true, uidNext: true });
    assert.strictEqual(status.messages, 2);
    const list = await one.list();
    assert(list.some((box) => box.specialUse === "\\Trash") && list.some((box) => box.path === "Archive.2026"));
    const { content } = await one.download("3", undefined, { uid: true });
    let body = "";
    for await (const chunk of content) {
        body += chunk;
    }
    assert.strictEqual(body, text("third"));
    await one.mailboxDelete("Archive.2026");
    await Promise.all([one.logout(), two.logout()]);
    console.log("all well");
}

main().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
});
