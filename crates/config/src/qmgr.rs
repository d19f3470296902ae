use crate::setting::{days, hours, minutes, secs};
use crate::value::Size;
use crate::{choices, settings};
use std::time::Duration;

choices! {
    /// What the postmaster is written to about.
    pub enum NotifyClass {
        Bounce = "bounce",
        DoubleBounce = "2bounce",
        Delay = "delay",
        Policy = "policy",
        Protocol = "protocol",
        Resource = "resource",
        Software = "software",
    }
}

choices! {
    /// What is spoken over a transport.
    pub enum TransportProtocol { Smtp = "smtp", Lmtp = "lmtp" }
}

settings! {
    /// A transport with a pace of its own: `[[qmgr.transport]]` with `name = "slow"` makes `orange.fr slow:` a line of `transport_maps`. `smtp`, `relay` and `lmtp`
    /// are there already, and are given a pace by their names.
    pub struct Transport in "qmgr.transport" {
        /// Its name.
        name: String = "", was "Postfix master.cf";
        /// What is spoken over it.
        protocol: TransportProtocol = TransportProtocol::Smtp;
        /// Deliveries at the same time to one destination. 0: as for all of the protocol.
        destination_concurrency_limit: u32 = 0u32, in 0..=1000, was "Postfix TRANSPORT_destination_concurrency_limit";
        /// The pause between two deliveries to one destination. 0: as for all of the protocol.
        destination_rate_delay: Duration = secs(0), in secs(0)..=hours(1), was "Postfix TRANSPORT_destination_rate_delay";
        /// Recipients of one delivery. 0: as for all of the protocol.
        destination_recipient_limit: u32 = 0u32, in 0..=1000, was "Postfix TRANSPORT_destination_recipient_limit";
        /// The pause between two deliveries over this transport, wherever they go; they then come one at a time. 0: `default_transport_rate_delay`.
        transport_rate_delay: Duration = secs(0), in secs(0)..=hours(1), was "Postfix TRANSPORT_transport_rate_delay";
        /// Deliveries over this transport at the same time, wherever they go. 0: no limit but `default_process_limit`.
        process_limit: u32 = 0u32, in 0..=10_000, was "Postfix master.cf maxproc";
    }
}

settings! {
    /// The queue: when, how often and how many at once.
    pub struct Qmgr in "qmgr" {
        /// The wait before a deferred message is tried again, at first; it doubles with each attempt.
        minimal_backoff_time: Duration = secs(300), in secs(1)..=days(1), was "Postfix minimal_backoff_time";
        /// The longest wait between two attempts.
        maximal_backoff_time: Duration = secs(4000), in secs(1)..=days(7), was "Postfix maximal_backoff_time";
        /// How long a message is tried before the sender is told that it could not be delivered.
        maximal_queue_lifetime: Duration = days(5), in secs(0)..=days(100), was "Postfix maximal_queue_lifetime";
        /// The same for bounces.
        bounce_queue_lifetime: Duration = days(5), in secs(0)..=days(100), was "Postfix bounce_queue_lifetime";
        /// After how long the sender is told that a message is late. 0: never.
        delay_warning_time: Duration = hours(0), in secs(0)..=days(100), was "Postfix delay_warning_time";
        /// Messages that are worked on at the same time.
        qmgr_message_active_limit: u32 = 20_000u32, in 100..=1_000_000, was "Postfix qmgr_message_active_limit";
        /// Memory for the bodies of waiting messages; beyond, they are read from the spool again.
        body_memory_limit: Size = Size::mib(64), in Size::mib(1)..=Size(1 << 40);
        /// Deliveries at the same time to one destination.
        default_destination_concurrency_limit: u32 = 20u32, in 1..=1000, was "Postfix default_destination_concurrency_limit";
        /// Deliveries at the same time to a destination at first; it grows with success.
        initial_destination_concurrency: u32 = 5u32, in 1..=1000, was "Postfix initial_destination_concurrency";
        /// The same for hosts that SMTP is spoken to. 0: `default_destination_concurrency_limit`.
        smtp_destination_concurrency_limit: u32 = 0u32, in 0..=1000, was "Postfix smtp_destination_concurrency_limit, relay_destination_concurrency_limit";
        /// The same for hosts that LMTP is spoken to. 0: `default_destination_concurrency_limit`.
        lmtp_destination_concurrency_limit: u32 = 0u32, in 0..=1000, was "Postfix lmtp_destination_concurrency_limit";
        /// The pause between two deliveries to one destination, which then come one at a time. 0: none. Our own deliver knows no pause.
        default_destination_rate_delay: Duration = secs(0), in secs(0)..=hours(1), was "Postfix default_destination_rate_delay";
        /// The same for hosts that SMTP is spoken to. 0: `default_destination_rate_delay`.
        smtp_destination_rate_delay: Duration = secs(0), in secs(0)..=hours(1), was "Postfix smtp_destination_rate_delay, relay_destination_rate_delay";
        /// The same for hosts that LMTP is spoken to. 0: `default_destination_rate_delay`.
        lmtp_destination_rate_delay: Duration = secs(0), in secs(0)..=hours(1), was "Postfix lmtp_destination_rate_delay";
        /// The pause between two deliveries over one transport, wherever they go. 0: none.
        default_transport_rate_delay: Duration = secs(0), in secs(0)..=hours(1), was "Postfix default_transport_rate_delay";
        /// Transports of an own name and pace.
        transport: Vec<Transport> = Vec::new(), was "Postfix master.cf";
        /// Deliveries to other hosts at the same time, all destinations together.
        default_process_limit: u32 = 100u32, in 1..=10_000, was "Postfix default_process_limit";
        /// Recipients of one delivery.
        default_destination_recipient_limit: u32 = 50u32, in 1..=1000, was "Postfix default_destination_recipient_limit";
        /// The same for hosts that SMTP is spoken to. 0: `default_destination_recipient_limit`.
        smtp_destination_recipient_limit: u32 = 0u32, in 0..=1000, was "Postfix smtp_destination_recipient_limit, relay_destination_recipient_limit";
        /// The same for hosts that LMTP is spoken to. 0: `default_destination_recipient_limit`.
        lmtp_destination_recipient_limit: u32 = 0u32, in 0..=1000, was "Postfix lmtp_destination_recipient_limit";
        /// Connections to deliver (or another LMTP server on this machine) at the same time. Each delivery waits for the disk; the more wait together, the fewer syncs each of them costs.
        local_destination_concurrency_limit: u32 = 128u32, in 1..=1000, was "Postfix local_destination_concurrency_limit";
        /// How much of a message is returned in a bounce; longer ones are returned with their header only.
        bounce_size_limit: Size = Size(50_000), in Size(0)..=Size::mib(100), was "Postfix bounce_size_limit";
        /// What the postmaster hears of: `bounce` (mail that was returned; headers only), `delay` (mail whose sender was told that it is late; headers only), `2bounce` (bounces that cannot be delivered to the sender);
        /// and with a transcript of the session: `policy` (clients that restrictions refused), `protocol` (that made mistakes), `resource` (that were refused because
        /// the disk or a table was not available), `software` (because of an error in the settings). Of sessions with other hosts: `protocol` (a command was not understood, or the host
        /// does not speak SMTP), `resource` (the message could not be read here).
        notify_classes: Vec<NotifyClass> = [NotifyClass::DoubleBounce], was "Postfix notify_classes";
        /// Who gets the notices of the class `bounce`.
        bounce_notice_recipient: String = "postmaster", was "Postfix bounce_notice_recipient";
        /// Who gets the notices of the class `delay`.
        delay_notice_recipient: String = "postmaster", was "Postfix delay_notice_recipient";
        /// Who gets bounces that cannot be delivered to the sender. Empty: nobody.
        double_bounce_recipient: String = "postmaster", was "Postfix 2bounce_notice_recipient";
        /// Who gets the notices of the classes `policy`, `protocol`, `resource` and `software`.
        error_notice_recipient: String = "postmaster", was "Postfix error_notice_recipient";
        /// Notices of these four classes in an hour, of smtpd and of qmgr each; how many more there would have been stands in the next one.
        error_notice_rate_limit: u32 = 20u32, in 1..=10_000;
        /// Users whose programs may tell over the socket `queue` which mail has come; that is smtpd's. Root and the user qmgr runs as always may.
        queue_trusted_users: Vec<String> = ["facteur-smtp"].map(String::from);
        /// How soon deliver, authd or another partner on this machine is asked again when it does not answer.
        partner_retry_time: Duration = secs(1), in crate::setting::millis(100)..=minutes(1);
    }
}
