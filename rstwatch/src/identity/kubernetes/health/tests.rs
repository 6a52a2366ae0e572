use std::io;

use super::*;

/// Collects the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("alone").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(run: impl FnOnce(&WatchHealth, &Health)) -> Vec<String> {
    let (log, health) = (Log::default(), Arc::new(Health::default()));
    let watch = WatchHealth::new(Arc::clone(&health), "pods".into(), true, Duration::from_secs(2));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).without_time().with_target(false);
    let subscriber = subscriber.with_ansi(false).with_max_level(tracing::Level::INFO).finish();
    tracing::subscriber::with_default(subscriber, || run(&watch, &health));
    let text = String::from_utf8(log.0.lock().expect("alone").clone()).expect("text");
    text.lines().map(|line| line.trim().chars().take(60).collect()).collect()
}

#[test]
fn a_change_is_logged_once() {
    let lines = logged(|watch, health| {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let refused = Failure::with_message(Kind::Forbidden, "no\u{1b}[31m");
        let down = Failure::with_message(Kind::Connect, "refused");
        for _ in 0..100 {
            watch.failed(&refused, start);
        }
        for _ in 0..100 {
            watch.failed(&down, start);
        }
        watch.list_completed(7, after(10));
        assert!(health.is_up());
        watch.list_completed(7, after(11));
        assert_eq!(watch.failed(&down, after(70)), Duration::from_secs(60));
        assert!(!health.is_up());
        watch.watch_accepted(after(71));
        watch.settle(|| 8, after(72));
        assert!(!health.is_up(), "it may still fail at once");
        watch.settle(|| 8, after(73));
        assert!(health.is_up());
        assert_eq!(health.errors().map(|(_, count)| count), [101, 100, 0, 0, 0]);
    });
    let expected = [
        "WARN pods: the Kubernetes API does not allow it: grant the s",
        "WARN pods: the Kubernetes API cannot be reached: refused; kn",
        "INFO pods: in sync, 7 known",
        "WARN pods: the Kubernetes API cannot be reached: refused; kn",
        "INFO pods: in sync, 8 known",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_unreadable_event_is_missed_until_the_list_is_read_again() {
    logged(|watch, health| {
        let start = Instant::now();
        watch.list_completed(7, start);
        assert!(health.is_up());
        watch.failed(&Failure::with_message(Kind::Decode, "trailing characters"), start);
        watch.watch_accepted(start);
        watch.settle(|| 7, start + Duration::from_secs(60));
        assert!(!health.is_up(), "the watch continues, but an event was lost");
        watch.list_completed(7, start + Duration::from_secs(60));
        assert!(health.is_up());
    });
}

#[test]
fn normal_interruptions_are_not_logged() {
    let lines = logged(|watch, health| {
        let now = Instant::now();
        let interrupted = Failure { interrupted: true, ..Failure::with_message(Kind::Connect, "unexpected EOF") };
        watch.list_completed(7, now);
        for i in 1..100 {
            let now = now + Duration::from_secs(i * 10);
            watch.failed(&interrupted, now);
            watch.watch_accepted(now);
            watch.settle(|| 7, now + Duration::from_secs(2));
            assert!(health.is_up());
            watch.failed(&Failure::with_message(Kind::Gone, "too old"), now + Duration::from_secs(3));
            watch.watch_accepted(now + Duration::from_secs(4));
            watch.settle(|| 7, now + Duration::from_secs(9));
            assert!(!health.is_up(), "not before the list is read again");
            watch.list_completed(7, now + Duration::from_secs(9));
        }
    });
    assert_eq!(lines, ["INFO pods: in sync, 7 known"]);
}
