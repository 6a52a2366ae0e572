use std::io;

use super::*;

/// Takes what is logged.
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

fn logged(run: impl FnOnce(&Condition, &Health)) -> Vec<String> {
    let (log, health) = (Log::default(), Arc::new(Health::default()));
    let condition = Condition::new(Arc::clone(&health), "pods".into(), true, Duration::from_secs(2));
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).without_time().with_target(false);
    let subscriber = subscriber.with_ansi(false).with_max_level(tracing::Level::INFO).finish();
    tracing::subscriber::with_default(subscriber, || run(&condition, &health));
    let text = String::from_utf8(log.0.lock().expect("alone").clone()).expect("text");
    text.lines().map(|line| line.trim().chars().take(60).collect()).collect()
}

#[test]
fn a_change_is_logged_once() {
    let lines = logged(|condition, health| {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let refused = Failure::said(Kind::Forbidden, "no\u{1b}[31m");
        let down = Failure::said(Kind::Connect, "refused");
        for _ in 0..100 {
            condition.failed(&refused, start);
        }
        for _ in 0..100 {
            condition.failed(&down, start);
        }
        condition.complete(7, after(10));
        assert!(health.is_up());
        condition.complete(7, after(11));
        assert_eq!(condition.failed(&down, after(70)), Duration::from_secs(60));
        assert!(!health.is_up());
        condition.answered(after(71));
        condition.settle(|| 8, after(72));
        assert!(!health.is_up(), "it may fail at once");
        condition.settle(|| 8, after(73));
        assert!(health.is_up());
        assert_eq!(health.errors().map(|(_, count)| count), [101, 100, 0, 0, 0]);
    });
    let expected = [
        "WARN pods: the Kubernetes API does not allow it: give the se",
        "WARN pods: the Kubernetes API cannot be reached: refused; wh",
        "INFO pods: in sync, 7 known",
        "WARN pods: the Kubernetes API cannot be reached: refused; wh",
        "INFO pods: in sync, 8 known",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_could_not_be_read_is_missed_until_it_is_listed_again() {
    logged(|condition, health| {
        let start = Instant::now();
        condition.complete(7, start);
        assert!(health.is_up());
        condition.failed(&Failure::said(Kind::Decode, "trailing characters"), start);
        condition.answered(start);
        condition.settle(|| 7, start + Duration::from_secs(60));
        assert!(!health.is_up(), "the watch goes on, but something was lost");
        condition.complete(7, start + Duration::from_secs(60));
        assert!(health.is_up());
    });
}

#[test]
fn everyday_matters_are_not_logged() {
    let lines = logged(|condition, health| {
        let now = Instant::now();
        let broke_off = Failure { broke_off: true, ..Failure::said(Kind::Connect, "unexpected EOF") };
        condition.complete(7, now);
        for i in 1..100 {
            let now = now + Duration::from_secs(i * 10);
            condition.failed(&broke_off, now);
            condition.answered(now);
            condition.settle(|| 7, now + Duration::from_secs(2));
            assert!(health.is_up());
            condition.failed(&Failure::said(Kind::Gone, "too old"), now + Duration::from_secs(3));
            condition.answered(now + Duration::from_secs(4));
            condition.settle(|| 7, now + Duration::from_secs(9));
            assert!(!health.is_up(), "not before it is listed again");
            condition.complete(7, now + Duration::from_secs(9));
        }
    });
    assert_eq!(lines, ["INFO pods: in sync, 7 known"]);
}
