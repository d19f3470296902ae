use crate::{choices, settings};

choices! {
    /// Tables that address extensions go through.
    pub enum ExtensionClass {
        Canonical = "canonical",
        Virtual = "virtual",
        Alias = "alias",
        Forward = "forward",
        Include = "include",
        Generic = "generic",
    }
}

settings! {
    /// Which addresses are ours, and where the others go. smtpd and qmgr read the same settings with the same code.
    pub struct Routing in "routing" {
        /// Domains whose users are local names (`root`, `postmaster`, …): their addresses are looked up in `alias_maps` and `local_recipient_maps`.
        mydestination: Vec<String> = ["$myhostname", "localhost.$mydomain", "localhost"].map(String::from), was "Postfix mydestination";
        /// Tables of local aliases, in the form of `/etc/aliases`.
        alias_maps: Vec<String> = Vec::<String>::new(), was "Postfix alias_maps";
        /// Tables whose keys are further users of `mydestination`: `user@domain`, or `user` alone. Those that `alias_maps`, `virtual_alias_maps` and
        /// `virtual_mailbox_maps` have are known anyway, and so is every `user` that is known at `myorigin`.
        local_recipient_maps: Vec<String> = Vec::<String>::new(), was "Postfix local_recipient_maps";
        /// Domains with mailboxes: names, or tables that have them as keys.
        virtual_mailbox_domains: Vec<String> = ["accounts:domains"].map(String::from), was "Postfix virtual_mailbox_domains";
        /// Tables whose keys are the addresses with a mailbox.
        virtual_mailbox_maps: Vec<String> = ["accounts:mailboxes"].map(String::from), was "Postfix virtual_mailbox_maps";
        /// Tables that turn an address into others; `@domain` is a catch-all for what has no mailbox of its own.
        virtual_alias_maps: Vec<String> = ["accounts:aliases"].map(String::from), was "Postfix virtual_alias_maps";
        /// Domains that have aliases only.
        virtual_alias_domains: Vec<String> = Vec::<String>::new(), was "Postfix virtual_alias_domains";
        /// Tables that turn a domain into another one with the same users.
        alias_domain_maps: Vec<String> = ["accounts:alias_domains"].map(String::from);
        /// Domains that we take mail for and pass on.
        relay_domains: Vec<String> = Vec::<String>::new(), was "Postfix relay_domains";
        /// Tables whose keys are the addresses in `relay_domains`. Empty: all are taken.
        relay_recipient_maps: Vec<String> = Vec::<String>::new(), was "Postfix relay_recipient_maps";
        /// Tables of users who have moved, with their new addresses: mail for them is answered with these.
        relocated_maps: Vec<String> = Vec::<String>::new(), was "Postfix relocated_maps";
        /// Tables that say by which transport, and to which next hop, a domain is served.
        transport_maps: Vec<String> = Vec::<String>::new(), was "Postfix transport_maps";
        /// The host that takes all mail that is not ours: `host:port`; `[host]:port` without a look at its MX records. Empty: straight to the recipients' servers.
        relayhost: String = "", was "Postfix relayhost";
        /// Tables whose keys are senders (`user@domain`, `@domain`, `<>` for bounces) and whose values are written like `relayhost`, which they override; `DUNNO` leaves it.
        sender_dependent_relayhost_maps: Vec<String> = Vec::<String>::new(), was "Postfix sender_dependent_relayhost_maps";
        /// Transport of addresses in `mydestination`: `virtual` (our own deliver), `lmtp:unix:PATH` or `lmtp:inet:HOST:PORT`.
        local_transport: String = "virtual", was "Postfix local_transport";
        /// Transport of addresses in `virtual_mailbox_domains`, written as `local_transport`.
        virtual_transport: String = "virtual", was "Postfix virtual_transport, mailbox_transport";
        /// Transport of addresses in `relay_domains`: `smtp`, `smtp:HOST:PORT`, `lmtp:inet:HOST:PORT`, ….
        relay_transport: String = "smtp", was "Postfix relay_transport";
        /// Transport of all other addresses: `smtp`, `smtp:HOST:PORT`, `error:TEXT` on a server that sends no mail out.
        default_transport: String = "smtp", was "Postfix default_transport";
        /// Tables whose keys are senders (`user@domain`, `@domain`, `<>` for bounces) and whose values are written like `default_transport`, which they override; `DUNNO` leaves it.
        sender_dependent_default_transport_maps: Vec<String> = Vec::<String>::new(), was "Postfix sender_dependent_default_transport_maps";
        /// Tables of further recipients for the mail of a recipient.
        recipient_bcc_maps: Vec<String> = Vec::<String>::new(), was "Postfix recipient_bcc_maps";
        /// Tables of further recipients for the mail of a sender.
        sender_bcc_maps: Vec<String> = Vec::<String>::new(), was "Postfix sender_bcc_maps";
        /// An address that gets a copy of everything. Empty: none.
        always_bcc: String = "", was "Postfix always_bcc";
        /// Characters that part `user+detail`. Empty: none.
        recipient_delimiter: String = "+", was "Postfix and Dovecot recipient_delimiter";
        /// Tables whose results get the `+detail` of an address that was found without it: `canonical` (`canonical_maps` and its kin), `virtual`
        /// (`virtual_alias_maps`), `alias` (`alias_maps`), `include` (lists that `:include:` of `alias_maps` names), `generic` (`smtp_generic_maps`). `forward` changes
        /// nothing: there are no `.forward` files.
        propagate_unmatched_extensions: Vec<ExtensionClass> = [ExtensionClass::Canonical, ExtensionClass::Virtual], was "Postfix propagate_unmatched_extensions";
        /// Recipients that one recipient may be expanded to.
        virtual_alias_expansion_limit: u32 = 1000u32, in 1..=1_000_000, was "Postfix virtual_alias_expansion_limit";
        /// How deep aliases may point to aliases.
        virtual_alias_recursion_limit: u32 = 100u32, in 1..=1000, was "Postfix virtual_alias_recursion_limit";
    }
}
