//! `events`.

use std::process::ExitCode;

use wharf_api::Event;

use crate::args::{EventFormat, EventsArgs};
use crate::connect::Session;
use crate::failure::{Exit, Outcome, print_line};

/// `wharf events`.
pub(crate) async fn events(session: &Session, args: EventsArgs) -> Outcome {
    let mut events = session.events().await?;
    while let Some(event) = events.next().await? {
        let line = match args.format {
            EventFormat::Text => text(&event),
            EventFormat::Json => serde_json::to_string(&event)
                .map_err(|error| Exit::failed(format!("an event that is no JSON: {error}")))?,
        };
        print_line(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(event: &Event) -> String {
    let Event { time, kind, action, id, name, detail } = event;
    let id: String = id.chars().take(12).collect();
    let name = name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{time} {kind} {action} {id}{name}{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let mut event = Event {
            time: "2026-01-02T03:04:05Z".into(),
            kind: "container".into(),
            action: "start".into(),
            id: "0123456789abcdef".into(),
            name: Some("web".into()),
            detail: None,
        };
        assert_eq!(text(&event), "2026-01-02T03:04:05Z container start 0123456789ab (web)");
        (event.name, event.detail) = (None, Some("again".into()));
        assert_eq!(text(&event), "2026-01-02T03:04:05Z container start 0123456789ab: again");
    }
}
