//! What the page says, in English and Chinese.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::billing::{Basis, Begun, Charge, Note, Step, Told, Unpriced, resources};
use crate::notify::template::Language;

/// The words of one language.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Words {
    #[serde(skip)]
    language: Option<Language>,
    pub(super) lang: &'static str,
    pub(super) title: &'static str,
    pub(super) running: &'static str,
    pub(super) closed: &'static str,
    pub(super) open: &'static str,
    pub(super) made: &'static str,
    pub(super) clusters: &'static str,
    pub(super) deployments: &'static str,
    pub(super) over_count: &'static str,
    pub(super) over_time: &'static str,
    pub(super) alerts: &'static str,
    pub(super) total: &'static str,
    pub(super) whole: &'static str,
    pub(super) offenders: &'static str,
    pub(super) no_offenders: &'static str,
    pub(super) deployment: &'static str,
    pub(super) owner: &'static str,
    pub(super) peak: &'static str,
    pub(super) fee: &'static str,
    pub(super) state: &'static str,
    pub(super) owners: &'static str,
    pub(super) nobody: &'static str,
    pub(super) plot: &'static str,
    pub(super) replicas: &'static str,
    pub(super) hpa: &'static str,
    pub(super) limit: &'static str,
    pub(super) actual: &'static str,
    pub(super) calendar: &'static str,
    pub(super) weekdays: [&'static str; 7],
    pub(super) changes: &'static str,
    pub(super) when: &'static str,
    pub(super) what: &'static str,
    pub(super) number: &'static str,
    pub(super) how: &'static str,
    pub(super) who: &'static str,
    pub(super) why: &'static str,
    pub(super) severity: &'static str,
    pub(super) rest: &'static str,
    pub(super) alike: &'static str,
    pub(super) nothing: &'static str,
    pub(super) none: &'static str,
    pub(super) unknown: &'static str,
    pub(super) removed: &'static str,
    pub(super) snapshot: &'static str,
    pub(super) over: &'static str,
    pub(super) within: &'static str,
    pub(super) absent: &'static str,
    pub(super) unregistered: &'static str,
    pub(super) to_top: &'static str,
}

const ENGLISH: Words = Words {
    language: None,
    lang: "en",
    title: "Replicas and what they cost",
    running: "running",
    closed: "closed",
    open: "over, not closed",
    made: "made",
    clusters: "Clusters",
    deployments: "Deployments billed",
    over_count: "Over their limit",
    over_time: "Time over",
    alerts: "Alerts",
    total: "Charged",
    whole: "Charged for MONTHS, whole months",
    offenders: "Furthest over their limits",
    no_offenders: "No Deployment was over its limit.",
    deployment: "Deployment",
    owner: "Owner",
    peak: "Highest / limit",
    fee: "Fee",
    state: "State",
    owners: "By owner",
    nobody: "(nobody)",
    plot: "Replicas against the limit",
    replicas: "replicas",
    hpa: "HPA maximum",
    limit: "limit",
    actual: "counted in the cluster",
    calendar: "Calendar: highest / limit of each day",
    weekdays: ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"],
    changes: "Changes",
    when: "When",
    what: "What",
    number: "Number",
    how: "How",
    who: "Who",
    why: "Why it costs that",
    severity: "Severity",
    rest: "All others",
    alike: "Deployments that were not over, and cost the same",
    nothing: "Nothing is billed: no Deployment was there that concerns anybody.",
    none: "none",
    unknown: "unknown",
    removed: "removed",
    snapshot: "found by a snapshot",
    over: "over its limit",
    within: "within its limit",
    absent: "not there",
    unregistered: "without a PED",
    to_top: "to the top",
};

const CHINESE: Words = Words {
    language: Some(Language::Chinese),
    lang: "zh-CN",
    title: "副本数与费用",
    running: "进行中",
    closed: "已结账",
    open: "已结束，未结账",
    made: "生成于",
    clusters: "集群",
    deployments: "计费的 Deployment",
    over_count: "超过上限",
    over_time: "超限时长",
    alerts: "告警",
    total: "费用合计",
    whole: "MONTHS 整月的费用合计",
    offenders: "超限最久",
    no_offenders: "没有 Deployment 超过上限。",
    deployment: "Deployment",
    owner: "负责人",
    peak: "最高 / 上限",
    fee: "费用",
    state: "状态",
    owners: "按负责人",
    nobody: "（无）",
    plot: "副本数与上限",
    replicas: "副本数",
    hpa: "HPA 最大值",
    limit: "上限",
    actual: "集群中的实际数",
    calendar: "日历：每日最高 / 上限",
    weekdays: ["一", "二", "三", "四", "五", "六", "日"],
    changes: "变更",
    when: "时间",
    what: "对象",
    number: "数量",
    how: "方式",
    who: "操作者",
    why: "费用的由来",
    severity: "级别",
    rest: "其余全部",
    alike: "个 Deployment，从未超限，费用相同",
    nothing: "没有计费：没有相关的 Deployment。",
    none: "无",
    unknown: "未知",
    removed: "已删除",
    snapshot: "由快照发现",
    over: "超过上限",
    within: "未超上限",
    absent: "不存在",
    unregistered: "没有 PED",
    to_top: "回到顶部",
};

impl Words {
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::Chinese => &CHINESE,
        }
    }

    fn is_chinese(&self) -> bool {
        self.language == Some(Language::Chinese)
    }

    /// A length of time in its two largest units.
    pub(super) fn duration(&self, micros: i64) -> String {
        let minutes = (micros / 60_000_000).max(0);
        let (days, hours, rest) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
        let units = if self.is_chinese() { [" 天 ", " 小时 ", " 分"] } else { ["d ", "h ", "m"] };
        let [day, hour, minute] = units;
        match (days, hours) {
            (0, 0) => format!("{rest}{minute}"),
            (0, hours) => format!("{hours}{hour}{rest}{minute}"),
            (days, hours) => format!("{days}{day}{hours}{}", hour.trim_end()),
        }
    }

    /// What has become of a line.
    pub(super) fn state(&self, state: &'static str) -> &'static str {
        match (self.is_chinese(), state) {
            (true, "preliminary") => "暂定",
            (true, "final") => "已确定",
            (true, "correction") => "已更正",
            (true, "unpriced") => "未定价",
            _ => state,
        }
    }

    /// Why a line is what it is.
    pub(super) fn sentences(&self, told: &Told<'_>) -> Vec<String> {
        if !self.is_chinese() {
            return told.sentences();
        }
        let zone = told.price.timezone;
        let time = |time: DateTime<Utc>| time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string();
        let until = |to: DateTime<Utc>| if to < told.until { format!("至 {}", time(to)) } else { "起".to_owned() };
        let line = told.line;
        let steps = line.steps.iter().enumerate().map(|(at, step)| {
            let sign = if at == 0 { "" } else { "+" };
            let what = if step.charge.basis == Basis::Limit { "上限" } else { "请求" };
            format!(
                "{sign}{}：{what} {} 个副本，每个 {}，自 {} {}：{}",
                told.price.written(step.adds),
                step.replicas.max,
                resources(step.replicas).replace(" and ", "、"),
                time(step.charge.from),
                until(step.charge.to),
                cause(step, told)
            )
        });
        let unpriced = line.unpriced.iter().map(|why| match why {
            Unpriced::NoPed => "未定价：存在期间没有生效的 PED".to_owned(),
            Unpriced::Incomplete => "未定价：生效的内容缺少计费所需的数据".to_owned(),
            Unpriced::TooShort => format!("未定价：没有任何内容连续生效 {} 秒", told.price.min_seconds),
            Unpriced::TooMuch(_) => "未定价：数额太大，无法计算".to_owned(),
        });
        let notes = line.notes.iter().map(|(from, to, note)| {
            let what = match note {
                Note::Owner(owner) => format!("属于 {owner}，不向其收费"),
                Note::NoPed => "没有生效的 PED，这段时间不收费".to_owned(),
                Note::NoResources(version) => format!("版本 {version} 没有写 cpu 或 memory，不收费"),
                Note::NoNumber => "请求的数量未知，不收费".to_owned(),
            };
            format!("自 {} {}：{what}", time(*from), until(*to))
        });
        unpriced.chain(steps).chain(notes).collect()
    }
}

/// What brought a step about, in Chinese.
fn cause(step: &Step, told: &Told<'_>) -> String {
    let version = |charge: &Charge| {
        let id = charge.in_force.as_ref().map_or("", |in_force| in_force.limit_id.as_str());
        let by = told.versions.of(id).map_or_else(String::new, |version| format!("（由 {} 登记）", version.updated_by));
        format!("版本 {id}{by}")
    };
    let shown = |event_id: &str| format!("由集群的完整快照发现，日志里没有记录，事件 {event_id}");
    let asked = |charge: &Charge| match charge.change.origin.cause() {
        Some(cause) if cause.is_snapshot() => shown(&cause.event_id),
        Some(cause) => format!("{} 的 {}（{}），事件 {}", cause.actor, cause.operation, cause.route, cause.event_id),
        None => "由集群快照发现".to_owned(),
    };
    match (&step.charge.begun, step.charge.basis) {
        (Begun::Before | Begun::Version, Basis::Limit) | (Begun::Version, _) => version(&step.charge),
        (Begun::Write(cause), Basis::Limit) if cause.is_snapshot() => {
            format!("{}；{}", shown(&cause.event_id), version(&step.charge))
        }
        (Begun::Write(cause), Basis::Limit) => {
            format!(
                "{} 的 {} 使其存在，事件 {}；{}",
                cause.actor,
                cause.operation,
                cause.event_id,
                version(&step.charge)
            )
        }
        (Begun::Snapshot, _) => "由集群快照发现".to_owned(),
        (Begun::Before | Begun::Write(_), _) => asked(&step.charge),
    }
}
