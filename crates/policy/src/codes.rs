//! Reply codes that settings choose.

use mail_types::Reply;

/// The codes of one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codes {
    pub(crate) reject: u16,
    pub(crate) defer: u16,
    pub(crate) access_reject: u16,
    pub(crate) access_defer: u16,
    pub(crate) invalid_hostname: u16,
    pub(crate) non_fqdn: u16,
    pub(crate) listed: u16,
    pub(crate) multi_recipient_bounce: u16,
    pub(crate) plaintext: u16,
    pub(crate) relay: u16,
    pub(crate) unknown_address: u16,
    pub(crate) unknown_client: u16,
    pub(crate) unknown_hostname: u16,
}

impl Codes {
    pub(crate) fn new(smtpd: &config::Smtpd) -> Codes {
        // The settings end at 599.
        let code = |n: u32| u16::try_from(n).unwrap_or(554);
        Codes {
            reject: code(smtpd.reject_code),
            defer: code(smtpd.defer_code),
            access_reject: code(smtpd.access_map_reject_code),
            access_defer: code(smtpd.access_map_defer_code),
            invalid_hostname: code(smtpd.invalid_hostname_reject_code),
            non_fqdn: code(smtpd.non_fqdn_reject_code),
            listed: code(smtpd.maps_rbl_reject_code),
            multi_recipient_bounce: code(smtpd.multi_recipient_bounce_reject_code),
            plaintext: code(smtpd.plaintext_reject_code),
            relay: code(smtpd.relay_domains_reject_code),
            unknown_address: code(smtpd.unknown_address_reject_code),
            unknown_client: code(smtpd.unknown_client_reject_code),
            unknown_hostname: code(smtpd.unknown_hostname_reject_code),
        }
    }
}

/// A reply whose enhanced code is of the class of `code`: 4.x.x for 450, 5.x.x for 554.
pub(crate) fn reply(code: u16, (subject, detail): (u16, u16), text: impl Into<std::borrow::Cow<'static, str>>) -> Reply {
    Reply::with(code, ((code / 100) as u8, subject, detail), text)
}
