//! The page of a month: its numbers are the bill's, and a real browser shows it as it should be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::kept::with_resources;
use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::support::{Sample, time};

pub(super) fn store(folder: &Path) -> String {
    format!("--store=sqlite:{}", folder.join("facts.db").display())
}

/// The demo month, with a team whose name is what no page may run.
pub(super) fn recorded(folder: &Path) {
    let peds = folder.join("peds");
    std::fs::create_dir(&peds).expect("a folder");
    let ped = std::fs::read_to_string(crate::support::root().join("fixtures/demo/ped/2026-09-01/orders-api.yaml"));
    let ped = ped.expect("a PED").replace("orders-api", "prototype").replace("namespace: payments", "namespace: lab");
    let hostile = ped.replace("owner: team-payments", "owner: \"<script>alert(1)</script>&\\\"'\"");
    std::fs::write(peds.join("ped.yaml"), hostile).expect("written");
    let ped = format!("--ped=2026-09-01={}", peds.display());
    let replayed = run(command().args(DEMO).args([&ped, &store(folder)]), b"");
    assert!(replayed.status.success(), "{}", stderr(&replayed));
}

fn page(folder: &Path, more: &[&str]) -> PathBuf {
    let file = folder.join(format!("page{}.html", more.join("")));
    let made = run(command().args(["report", "--month=2026-09", &store(folder), "-o"]).arg(&file).args(more), b"");
    assert!(made.status.success(), "{}", stderr(&made));
    file
}

fn found<'t>(text: &'t str, pattern: &str) -> Vec<&'t str> {
    let pattern = regex::Regex::new(pattern).expect("a pattern");
    pattern.captures_iter(text).map(|found| found.get(1).expect("a group").as_str()).collect()
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_bill_and_nothing_in_it_can_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    recorded(folder);
    let text = std::fs::read_to_string(page(folder, &[])).expect("readable");
    let bill = run(command().args(["bill", "--month=2026-09", "--format=json", &store(folder)]), b"");
    let bill: Json = serde_json::from_str(&stdout(&bill)).expect("JSON");
    let mut fees: Vec<&str> =
        bill["lines"].as_array().expect("lines").iter().filter_map(|line| line["fee"].as_str()).collect();
    let mut shown = found(&text, "<b class=\"fee\">([0-9.]+)</b>");
    fees.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, fees);
    let total = bill["total"].as_str().expect("a total");
    assert!(text.contains(&format!("<li><b>{total} USD</b>Charged</li>")), "{total}");
    // What changed, and who was over for how long.
    let changes = run(command().args(["changes", "--format=json", &store(folder)]), b"");
    let changes: Vec<Json> = serde_json::from_str(&stdout(&changes)).expect("JSON");
    let counts = found(&text, "<summary>Changes \\(([0-9]+)\\)").into_iter().map(|count| count.parse::<usize>());
    assert_eq!(counts.map(|count| count.expect("a number")).sum::<usize>(), changes.len());
    assert!(text.contains("<td class=\"over\">13d 12h</td><td>8 &#x2f; 5</td>"));
    assert!(text.contains("+85.50 for a limit of 6 replicas"));

    assert!(!text.contains("<script") && text.contains("&lt;script&gt;alert(1)"));
    let style = found(&text, "(?s)<style>(.*)</style>")[0];
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style.as_bytes()));
    let policy = format!("default-src &#x27;none&#x27;; style-src &#x27;sha256-{hash}&#x27;;");
    assert!(text.replace("&#x2b;", "+").replace("&#x2f;", "/").contains(&policy), "{policy}");
    assert!(!text.contains(" style=") && !text.contains("http://") && !text.contains("https://"));

    let chinese = std::fs::read_to_string(page(folder, &["--language=zh"])).expect("readable");
    assert!(chinese.contains("<html lang=\"zh-CN\">") && chinese.contains("+85.50：上限 6 个副本"));
    let one = std::fs::read_to_string(page(folder, &["--owner=team-discovery"])).expect("readable");
    assert_eq!(found(&one, "<b class=\"fee\">([0-9.]+)</b>"), ["322.50"]);
}

/// Time over and changes are those of the span; the months that it touches are charged whole.
#[test]
fn a_span_of_time_has_a_page_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    recorded(folder);
    let file = folder.join("span.html");
    let report = |span: &[&str]| run(command().args(["report", &store(folder), "-o"]).arg(&file).args(span), b"");
    let made = report(&["--from=2026-08-25", "--to=2026-09-12"]);
    assert!(made.status.success(), "{}", stderr(&made));
    let text = std::fs::read_to_string(&file).expect("readable");
    let bill = |month: &str| -> Json {
        let bill = run(command().args(["bill", "--month", month, "--format=json", &store(folder)]), b"");
        serde_json::from_str(&stdout(&bill)).expect("JSON")
    };
    let (august, september) = (bill("2026-08"), bill("2026-09"));
    assert_eq!(august["total"], "0.00");
    let total = september["total"].as_str().expect("a total");
    let charged = format!("<li><b>{total} USD</b>Charged for 2026-08, 2026-09, whole months</li>");
    assert!(text.contains(&charged), "{charged}");
    assert!(text.contains("2026-08-25 00:00 – 2026-09-12 00:00"));
    assert!(text.contains("<li>2026-09: 265.50 for a limit of 3 replicas"));
    let span = ["--from=2026-08-25", "--to=2026-09-12", "--format=json"];
    let changes = run(command().arg("changes").args(span).arg(store(folder)), b"");
    let changes: Vec<Json> = serde_json::from_str(&stdout(&changes)).expect("JSON");
    let counts = found(&text, "<summary>Changes \\(([0-9]+)\\)").into_iter().map(|count| count.parse::<usize>());
    assert_eq!(counts.map(|count| count.expect("a number")).sum::<usize>(), changes.len());
    // 18 days from a Tuesday, in weeks from Monday: of each Deployment three.
    let days = found(&text, "<td class=\"day-[a-z]+\" title=\"[^\"]*\"><b>([0-9-]+)</b>");
    let cards = found(&text, "<section class=\"card\" id=\"(d[0-9]+)\"").len();
    assert_eq!((days.len(), days[0], days[17]), (18 * cards, "08-25", "09-11"));

    for (span, why) in [
        (&["--from=2026-09-12", "--to=2026-09-11"][..], "expected --from to be earlier"),
        (&["--from=2026-01-01", "--to=2026-09-11"], "these are 253 days; expected 100 at most"),
        (&["--from=2199-01-01", "--to=2199-01-02"], "has not come; expected a span of time that has begun"),
        (&["--from=1999-12-30", "--to=1999-12-31"], "no price holds in 1999-12"),
        (&["--from=2026-09-01", "--month=2026-09"], "cannot be used with"),
        (&["--to=2026-09-01"], "--from"),
    ] {
        let refused = report(span);
        assert_eq!(refused.status.code(), Some(2), "{span:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(why), "{span:?}: {}", stderr(&refused));
    }
    let priced = folder.join("pedwatch.toml");
    std::fs::write(&priced, "[billing.prices.2026-09-01]\ncurrency = \"EUR\"\n").expect("written");
    let refused = run(
        command().args(["report", "--from=2026-08-25", "--to=2026-09-12", &store(folder), "--config"]).arg(&priced),
        b"",
    );
    assert!(stderr(&refused).contains("2026-08 and 2026-09 have prices of another currency"), "{}", stderr(&refused));
}

/// How many Deployments a large month has: 10,000 with `PEDWATCH_TEST_DEPLOYMENTS=10000`.
fn deployments() -> usize {
    std::env::var("PEDWATCH_TEST_DEPLOYMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(700)
}

/// Each has a PED and three changes; one in twenty is over its limit for some hours.
fn recorded_at_large(folder: &Path, deployments: usize) {
    let peds = folder.join("peds");
    std::fs::create_dir(&peds).expect("a folder");
    let begin = time("2026-09-01T00:00:00Z");
    let mut entries = String::new();
    for number in 0..deployments {
        let (name, max) = (format!("service-{number:05}"), 2 + (number / 7 % 5) as i64);
        let ped = with_resources(max).replace("orders-api", &name);
        let owner = format!("team-{:02}", number % 40);
        std::fs::write(peds.join(format!("{name}.yaml")), ped.replace("team-payments", &owner)).expect("written");
        let high = if number % 20 == 0 { max + 1 } else { 2 };
        for (turn, replicas) in [2, high, 2].into_iter().enumerate() {
            let at = begin + chrono::Duration::seconds((number * 150 + turn * 20_000) as i64);
            let id = format!("{name}-{turn}");
            let sample =
                Sample::patch(&id, &pedwatch::id::time(at), replicas).version(100 + turn as i64, 1 + turn as i64);
            let sample = sample
                .set("/protoPayload/resourceName", format!("apps/v1/namespaces/payments/deployments/{name}"))
                .set("/protoPayload/response/metadata/name", name.clone())
                .uid(&name);
            entries.push_str(&String::from_utf8(sample.bytes()).expect("UTF-8"));
            entries.push('\n');
        }
    }
    let peds = format!("--ped=2026-08-01={}", peds.display());
    let replayed = run(command().args(["replay", "-", "--format=json", &peds, &store(folder)]), entries.as_bytes());
    assert!(replayed.status.success(), "{}", stderr(&replayed));
}

/// Runs a command that succeeds, and tells how long it computed (others may be at work beside it) and how much memory it had at
/// most, in MiB.
fn measured_run(command: &mut Command) -> (Duration, u64) {
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let (mut computed, mut most) = (Duration::ZERO, 0);
    while child.try_wait().expect("a child").is_none() {
        let text = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        let status = text("status");
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = peak.unwrap_or(0).max(most);
        // In hundredths of a second, behind the name in parentheses: by the program itself, and for it.
        let stat = text("stat");
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        computed = Duration::from_millis(10 * ticks).max(computed);
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    (computed, most / 1_024)
}

/// Whoever was over has a row of his own at least; those of whom there is nothing to say but their fee are gathered.
#[test]
fn a_large_month_is_a_page_that_can_be_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let deployments = deployments();
    recorded_at_large(folder, deployments);
    let file = folder.join("large.html");
    let (took, mebibytes) =
        measured_run(command().args(["report", "--month=2026-09", &store(folder), "-o"]).arg(&file));
    let text = std::fs::read_to_string(&file).expect("readable");
    println!("{deployments} Deployments: {took:?}, {mebibytes} MiB, a page of {} bytes", text.len());
    assert!(took < Duration::from_secs(30) && mebibytes < 286 && text.len() < 5_000_000);
    let cards = found(&text, "<section class=\"card\" id=\"(d[0-9]+)\"").len();
    assert!((200..=300).contains(&cards), "{cards}");
    for number in 0..deployments {
        assert!(text.contains(&format!("payments&#x2f;service-{number:05}")), "{number}");
    }
    // Nobody is lost between cards, rows and gathered rows.
    let (_, rest) = text.split_once("<h2>All others</h2>").expect("others");
    let gathered = found(rest, "<summary>([0-9]+) Deployments that were not over");
    let gathered: Vec<usize> = gathered.iter().map(|count| count.parse().expect("a number")).collect();
    let rows = found(rest, "<tr>(<td>)").len();
    assert_eq!(cards + rows - gathered.len() + gathered.iter().sum::<usize>(), deployments);
    assert!(rest.contains(&format!("<td class=\"money\">{} × ", gathered[0])), "{}", &rest[..2_000]);
    let bill = run(command().args(["bill", "--month=2026-09", "--format=json", &store(folder)]), b"");
    let bill: Json = serde_json::from_str(&stdout(&bill)).expect("JSON");
    let total = bill["total"].as_str().expect("a total");
    assert!(text.contains(&format!("<li><b>{total} USD</b>Charged</li>")), "{total}");
}

/// What is measured in the page, by one around it: how wide it is, whether its style holds, and the least contrast of a text
/// with what is behind it.
const HARNESS: &str = r#"<!doctype html><meta charset="utf-8"><body style="margin:0"><iframe id="page" style="border:0;width:WIDTHpx;height:700px" src="FILE"></iframe>
<pre id="measured">nothing</pre><script>
const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const parts = colour => colour.match(/[\d.]+/g).map(Number);
const over = (top, below) => { const a = top[3] ?? 1; return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a)); };
const behind = (view, element) => element ? over(parts(view.getComputedStyle(element).backgroundColor), behind(view, element.parentElement)) : [255, 255, 255];
document.getElementById('page').onload = event => {
  const view = event.target.contentWindow, page = view.document;
  page.querySelectorAll('details').forEach(details => { details.open = true; });
  const texts = [...page.body.querySelectorAll('*')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const contrast = e => {
    const paper = behind(view, e.closest('svg') ? e.closest('section') : e), style = view.getComputedStyle(e);
    const ink = light(over(parts(e.closest('svg') ? style.fill : style.color), paper)), ground = light(paper);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  };
  const least = texts.filter(e => e.tagName !== 'title').map(e => [contrast(e), e.className + ' ' + e.textContent.slice(0, 30)]).sort((a, b) => a[0] - b[0])[0];
  const root = page.documentElement;
  document.getElementById('measured').textContent = JSON.stringify({
    scroll: root.scrollWidth, client: root.clientWidth, sections: page.querySelectorAll('section').length,
    styled: view.getComputedStyle(page.body).maxWidth, paper: view.getComputedStyle(page.body).backgroundColor, least,
  });
};
</script>"#;

fn chromium(args: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--allow-file-access-from-files"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(args)
        .output()
        .expect("Debian's chromium (tests/run.sh installs it)");
    assert!(output.status.success(), "{}", stderr(&output));
    (stdout(&output), stderr(&output))
}

/// What a browser measures, and whatever it complains of.
fn measured(folder: &Path, file: &Path, width: u32, is_dark: bool) -> Json {
    let harness = folder.join("harness.html");
    let text = HARNESS.replace("WIDTH", &width.to_string()).replace("FILE", &format!("file://{}", file.display()));
    std::fs::write(&harness, text).expect("written");
    let url = format!("file://{}", harness.display());
    let scheme = format!("--blink-settings=preferredColorScheme={}", i32::from(!is_dark));
    let (dom, log) = chromium(&["--virtual-time-budget=20000", "--window-size=1300,900", &scheme, "--dump-dom", &url]);
    assert!(!log.contains("CONSOLE"), "{log}");
    let measured = found(&dom, "<pre id=\"measured\">(.*?)</pre>")[0]
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    serde_json::from_str(&measured).unwrap_or_else(|error| panic!("{error}: {measured}\n{log}"))
}

#[test]
fn a_browser_shows_it_whole_in_light_and_dark_and_on_a_phone() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    recorded(folder);
    for file in [page(folder, &[]), page(folder, &["--language=zh"])] {
        for (width, is_dark) in [(360, false), (360, true), (1200, false)] {
            let seen = measured(folder, &file, width, is_dark);
            assert_eq!((&seen["scroll"], &seen["sections"]), (&seen["client"], &4.into()), "{seen}");
            assert!(seen["client"].as_u64().is_some_and(|client| client <= width.into()), "{seen}");
            assert_eq!(seen["styled"], "1024px", "the style is refused: {seen}");
            assert_eq!(seen["paper"] == "rgb(13, 17, 23)", is_dark, "{seen}");
            assert!(seen["least"][0].as_f64().is_some_and(|contrast| contrast >= 4.5), "too pale: {seen}");
        }
    }
    // Kept where the run keeps them.
    let kept = std::env::var_os("PEDWATCH_TEST_SCREENSHOTS").map(PathBuf::from);
    if let Some(kept) = &kept {
        std::fs::create_dir_all(kept).expect("made");
    }
    for size in ["360,740", "800,1100", "1300,1000"].iter().filter(|_| kept.is_some()) {
        let name = format!("report-{}.png", size.replace(',', "x"));
        let file = kept.clone().unwrap_or_default().join(name);
        let url = format!("file://{}", page(folder, &[]).display());
        chromium(&[&format!("--window-size={size}"), &format!("--screenshot={}", file.display()), &url]);
        assert!(std::fs::metadata(&file).is_ok_and(|picture| picture.len() > 10_000));
    }
}
