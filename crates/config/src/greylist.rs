use crate::setting::{days, hours, secs};
use crate::settings;
use std::time::Duration;

settings! {
    /// Greylisting: a client that was never heard of with this sender and recipient is told to come again later, as mail servers do and most
    /// programs that only send do not. Done where a restriction list has `check_greylist`; its memory is one for all services.
    pub struct Greylist in "greylist" {
        /// How soon a client may come again.
        delay: Duration = secs(300), in secs(1)..=hours(24), was "postgrey --delay, sqlgrey reconnect_delay";
        /// How late it may come again; after that it begins anew.
        retry_window: Duration = days(2), in hours(1)..=days(14), was "postgrey --retry-window, sqlgrey max_connect_age";
        /// How long who passed is remembered after its last message.
        max_age: Duration = days(35), in days(1)..=days(365), was "postgrey --max-age, sqlgrey awl_age";
        /// A client that came again so often (counted once an hour) is not greylisted any more, whoever it writes for. 0: never.
        auto_whitelist_clients: u32 = 5u32, in 0..=1000, was "postgrey --auto-whitelist-clients";
        /// Tables of clients that are not greylisted, looked up as by `check_client_access`; whatever the answer is.
        whitelist_clients: Vec<String> = Vec::<String>::new(), was "postgrey --whitelist-clients";
        /// The same of senders, as by `check_sender_access`.
        whitelist_senders: Vec<String> = Vec::<String>::new();
        /// The same of recipients, as by `check_recipient_access`.
        whitelist_recipients: Vec<String> = Vec::<String>::new(), was "postgrey --whitelist-recipients";
        /// What the client is told; `%s` is the number of seconds.
        text: String = "Greylisted for %s seconds", was "postgrey --greylist-text";
        /// Triplets of client, sender and recipient that are remembered, and as many clients; beyond, those that were not heard of for longest are forgotten.
        entries: u32 = 100_000u32, in 1000..=10_000_000;
    }
}
