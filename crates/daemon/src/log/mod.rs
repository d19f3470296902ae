//! Logging: one line per event, as `key=value` for people or as JSON, through a writer that mail never waits for.
//!
//! ```text
//! 2026-11-22T15:07:40.123456+01:00 smtpd info received id=4F peer=192.0.2.1:4711 queue_id=… size=1024
//! ```
//! Fields of the spans around an event come before its own. Whatever comes from outside is escaped, so that nothing a peer
//! sends can begin a line or change a terminal; values with spaces or quotes stand in quotes.
//!
//! Lines go to a buffer of bounded size; a thread of its own writes them. When the journal or the disk is slow and the buffer
//! full, lines are dropped, and a line tells how many. A line costs about a microsecond, and no wake-up while others are waiting.

mod line;
mod recent;
mod sink;

use config::{LogFormat, LogLevel};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;

use recent::Recent;
pub use sink::Sink;

/// The running log of a process; reload and SIGUSR1 come here.
#[derive(Debug, Clone)]
pub struct Logging {
    sink: Arc<Sink>,
    recent: Arc<Recent>,
    level: reload::Handle<LevelFilter, tracing_subscriber::Registry>,
}

impl Logging {
    /// Starts logging for the whole process, with a thread that writes. Only the first call of a process has an effect on
    /// where events go.
    pub fn start(program: &'static str, settings: &config::Log) -> io::Result<Logging> {
        let sink = Arc::new(Sink::start(path(&settings.file), settings.buffer_size.bytes() as usize)?);
        let (filter, level) = reload::Layer::new(level_filter(settings.level));
        let recent = Arc::new(Recent::default());
        let json = settings.format == LogFormat::Json;
        let layer = Lines { program, json, journal: sink.is_journal(), sink: sink.clone(), recent: recent.clone() };
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        // A test may run several daemons; they share the log of the first.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(Logging { sink, recent, level })
    }

    /// Another level and file. The format stays until the next start.
    pub fn reload(&self, settings: &config::Log) -> io::Result<()> {
        self.sink.set_file(path(&settings.file))?;
        // Fails only when the subscriber is gone, that is, never while the process lives.
        let _ = self.level.reload(level_filter(settings.level));
        Ok(())
    }

    /// Opens the log file again, after logrotate has renamed it.
    pub fn reopen(&self) -> io::Result<()> {
        self.sink.reopen()
    }

    /// The last warnings and errors: a line each, with the second it is from in front.
    pub fn recent(&self) -> String {
        self.recent.text()
    }

    /// Where lines go, for people.
    pub fn place(&self) -> String {
        match self.sink.file() {
            Some(file) => file.display().to_string(),
            None if self.sink.is_journal() => "the journal (journalctl)".into(),
            None => "standard error".into(),
        }
    }

    /// Writes what waits. Blocks, for a second at most.
    pub fn flush(&self) {
        self.sink.flush();
    }
}

fn path(file: &Path) -> Option<&Path> {
    (!file.as_os_str().is_empty()).then_some(file)
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

/// Makes lines of events.
struct Lines {
    program: &'static str,
    json: bool,
    journal: bool,
    sink: Arc<Sink>,
    recent: Arc<Recent>,
}

/// The fields of a span, written once when it is made.
struct SpanText(String);

struct Fields<'a> {
    out: &'a mut String,
    json: bool,
    // The message of an event stands before its fields; it is found among them.
    message: Option<&'a mut String>,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        if field.name() == "message"
            && let Some(message) = &mut self.message
        {
            let _ = message.write_fmt(value);
            return;
        }
        line::key(self.out, field.name(), self.json);
        line::value(self.out, value, self.json);
    }

    fn put_plain(&mut self, field: &Field, value: impl std::fmt::Display) {
        line::key(self.out, field.name(), self.json);
        // Writing to a String does not fail.
        let _ = write!(self.out, "{value}");
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put_plain(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put_plain(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put_plain(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put(field, format_args!("{text}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut text = String::new();
        attributes.record(&mut Fields { out: &mut text, json: self.json, message: None });
        span.extensions_mut().insert(SpanText(text));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(SpanText(text)) = span.extensions_mut().get_mut::<SpanText>() {
            values.record(&mut Fields { out: text, json: self.json, message: None });
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        thread_local! {
            static BUFFERS: std::cell::RefCell<(String, String, String)> = const { std::cell::RefCell::new((String::new(), String::new(), String::new())) };
        }
        BUFFERS.with(|buffers| {
            // An event inside a `Display` that is being logged finds the buffers taken; it is rare, and gets its own.
            let mut own = Default::default();
            let mut shared = buffers.try_borrow_mut();
            let (line, fields, message) = match &mut shared {
                Ok(buffers) => &mut **buffers,
                Err(_) => &mut own,
            };
            line.clear();
            fields.clear();
            message.clear();
            if let Some(scope) = ctx.event_scope(event) {
                for span in scope.from_root() {
                    if let Some(SpanText(text)) = span.extensions().get::<SpanText>() {
                        fields.push_str(text);
                    }
                }
            }
            event.record(&mut Fields { out: fields, json: self.json, message: Some(message) });
            let level = *event.metadata().level();
            if level <= Level::WARN {
                // without the time, which stands beside it
                line::assemble(line, self.program, level, message, fields, self.json, false);
                self.recent.add(crate::reload::now(), line);
                line.clear();
            }
            if self.journal {
                line::journal_priority(line, level);
            }
            line::assemble(line, self.program, level, message, fields, self.json, !self.journal);
            self.sink.put(line.as_bytes(), level <= Level::WARN);
        });
    }
}

#[cfg(test)]
mod tests;
