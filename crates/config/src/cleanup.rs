use crate::choices;
use crate::settings;
use crate::value::Size;

choices! {
    /// Where addresses are changed.
    pub enum AddressClass {
        EnvelopeSender = "envelope_sender",
        EnvelopeRecipient = "envelope_recipient",
        HeaderSender = "header_sender",
        HeaderRecipient = "header_recipient",
    }
}

impl AddressClass {
    pub const ALL: [AddressClass; 4] =
        [AddressClass::EnvelopeSender, AddressClass::EnvelopeRecipient, AddressClass::HeaderSender, AddressClass::HeaderRecipient];
}

settings! {
    /// What is done to messages before they are queued: their content is checked by tables, and addresses are rewritten (the job of Postfix's cleanup program).
    /// Header fields are rewritten for clients of our own only: those that logged in, and this machine itself.
    pub struct Cleanup in "cleanup" {
        /// Tables of patterns for the header fields of a message, but for those of MIME; the answers are REJECT, IGNORE, STRIP, WARN, INFO, HOLD, DISCARD, PREPEND, REPLACE, REDIRECT, BCC, FILTER, DUNNO.
        header_checks: Vec<String> = Vec::<String>::new(), was "Postfix header_checks";
        /// The same for the MIME fields of a message and all fields of its parts.
        mime_header_checks: Vec<String> = ["$header_checks"].map(String::from), was "Postfix mime_header_checks";
        /// The same for the header fields of messages that stand in a message.
        nested_header_checks: Vec<String> = ["$header_checks"].map(String::from), was "Postfix nested_header_checks";
        /// The same for lines of the body, as they come: nothing is decoded.
        body_checks: Vec<String> = Vec::<String>::new(), was "Postfix body_checks";
        /// How much of each part of a body is looked at by `body_checks`.
        body_checks_size_limit: Size = Size(51_200), in Size(0)..=Size::mib(100), was "Postfix body_checks_size_limit";
        /// How much of a header field is looked at.
        header_size_limit: Size = Size(102_400), in Size(1000)..=Size::mib(1), was "Postfix header_size_limit";
        /// Tables that give addresses another form, in envelope and header: `user@domain`, `user` (of our own names), `@domain`.
        canonical_maps: Vec<String> = Vec::<String>::new(), was "Postfix canonical_maps";
        /// Where `canonical_maps` are asked.
        canonical_classes: Vec<AddressClass> = AddressClass::ALL, was "Postfix canonical_classes";
        /// The same for senders only; asked for before `canonical_maps`.
        sender_canonical_maps: Vec<String> = Vec::<String>::new(), was "Postfix sender_canonical_maps";
        /// Where `sender_canonical_maps` are asked.
        sender_canonical_classes: Vec<AddressClass> = [AddressClass::EnvelopeSender, AddressClass::HeaderSender], was "Postfix sender_canonical_classes";
        /// The same for recipients only.
        recipient_canonical_maps: Vec<String> = Vec::<String>::new(), was "Postfix recipient_canonical_maps";
        /// Where `recipient_canonical_maps` are asked.
        recipient_canonical_classes: Vec<AddressClass> = [AddressClass::EnvelopeRecipient, AddressClass::HeaderRecipient], was "Postfix recipient_canonical_classes";
        /// Domains whose subdomains are cut off: `example.org` makes `ann@mail.example.org` into `ann@example.org`; `!sub.example.org` is left alone. The first match counts.
        masquerade_domains: Vec<String> = Vec::<String>::new(), was "Postfix masquerade_domains";
        /// Users whose addresses are not masqueraded, such as `root`.
        masquerade_exceptions: Vec<String> = Vec::<String>::new(), was "Postfix masquerade_exceptions";
        /// Where addresses are masqueraded.
        masquerade_classes: Vec<AddressClass> = [AddressClass::EnvelopeSender, AddressClass::HeaderSender, AddressClass::HeaderRecipient], was "Postfix masquerade_classes";
        /// Header addresses without a domain get `myorigin`.
        append_at_myorigin: bool = true, was "Postfix append_at_myorigin";
        /// Header addresses whose domain has no dot get `mydomain` behind it.
        append_dot_mydomain: bool = false, was "Postfix append_dot_mydomain";
    }
}
