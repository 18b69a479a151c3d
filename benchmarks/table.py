"""Put the recorded results into the tables of both READMEs; what was not recorded says so."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

#: README to its language.
READMES = {"README.md": "en", "README.zh.md": "zh"}


@dataclass(frozen=True)
class Fit:
    """One row of the table of quality.

    Args:
        name: Of the set, as in the result's file name.
        minutes: Budget.
        metrics: Shown, in order; the names of ``report/metrics.json``.
        data: What the set is, English and Chinese.
        published: Results of others on other test images, English and Chinese.
    """

    name: str
    minutes: int
    metrics: tuple[str, ...]
    data: tuple[str, str]
    published: tuple[str, str] = ("–", "–")


HIPPOCAMPUS = ("hippocampus, MR, 3-D, 200 volumes", "海马，MR，三维，200 例")
NNUNET = (
    "nnU-Net: Dice 0.895, test part of the same collection (doi:10.1038/s41592-020-01008-z)",
    "nnU-Net：Dice 0.895，同一数据集的官方测试集（doi:10.1038/s41592-020-01008-z）",
)
FITS = (
    Fit("hippocampus", 10, ("dice",), HIPPOCAMPUS, NNUNET),
    Fit("hippocampus", 30, ("dice",), HIPPOCAMPUS, NNUNET),
    Fit(
        "pneumoniamnist",
        10,
        ("auc", "accuracy", "ece"),
        ("PneumoniaMNIST, chest radiographs, 28 × 28, 5232 images", "PneumoniaMNIST，胸片，28 × 28，5232 幅"),
        (
            "ResNet-18: AUC 0.944, accuracy 0.854, official test part (doi:10.1038/s41597-022-01721-8)",
            "ResNet-18：AUC 0.944，准确率 0.854，官方测试集（doi:10.1038/s41597-022-01721-8）",
        ),
    ),
    Fit(
        "sunnybrook_lv",
        10,
        ("dice",),
        ("left ventricle, cardiac MR, 393 slices of 30 patients", "左心室，心脏 MR，30 名患者的 393 个层面"),
    ),
    Fit(
        "hc18",
        10,
        ("dice",),
        ("fetal head, ultrasound, 280 images at half size", "胎儿头部，超声，280 幅（半尺寸）"),
        (
            "Dice 0.97, official test part (doi:10.1371/journal.pone.0200412)",
            "Dice 0.97，官方测试集（doi:10.1371/journal.pone.0200412）",
        ),
    ),
    Fit(
        "hc18",
        20,
        ("dice", "mae/head_circumference_mm"),
        (
            "the same on one core, measured: head circumference against the table's, mm",
            "同上（单核）并测量：头围与表中数值之差，mm",
        ),
        (
            "Dice 0.97, 2.8 mm, 800 full-size images, official test part (doi:10.1371/journal.pone.0200412)",
            "Dice 0.97，2.8 mm，800 幅原尺寸图像，官方测试集（doi:10.1371/journal.pone.0200412）",
        ),
    ),
    Fit(
        "mednist",
        10,
        ("accuracy",),
        ("MedNIST, six kinds of image, 64 × 64, 1800 images", "MedNIST，六类图像，64 × 64，1800 幅"),
    ),
    Fit(
        "bccd",
        20,
        ("map50",),
        ("boxes around blood cells, microscopy, 292 images; one core", "血细胞检测框，显微镜，292 幅（单核）"),
    ),
    Fit(
        "cxr_structures",
        15,
        ("map50",),
        ("boxes around lungs and mediastinum, chest radiographs, 31 images", "肺与纵隔检测框，胸片，31 幅"),
    ),
    Fit(
        "nsclc_survival",
        15,
        ("uno_c",),
        ("survival with lung cancer, CT and clinical columns, 140 patients", "肺癌生存，CT 与临床数据，140 名患者"),
    ),
    Fit(
        "lus_video",
        20,
        ("auc",),
        ("three classes of lung, ultrasound clips, 57 patients", "肺部三类，超声动态图像，57 名患者"),
    ),
)

NAMES = {
    "dice": ("Dice", "Dice"),
    "auc": ("AUC", "AUC"),
    "accuracy": ("accuracy", "准确率"),
    "ece": ("ECE", "ECE"),
    "map50": ("mAP at overlap .5", "mAP（重叠 .5）"),
    "uno_c": ("Uno's C at two years", "两年 Uno C 指数"),
    "mae/head_circumference_mm": ("mean absolute difference (mm)", "平均绝对差（mm）"),
}


@dataclass(frozen=True)
class Door:
    """One row of the table of the clinical doors.

    Args:
        result: Name of the result's file.
        what: English and Chinese.
        path: Where the number stands in the file.
        form: How it is written; gets the number, or the interval's fields.
    """

    result: str
    what: tuple[str, str]
    path: tuple[str, ...]
    form: str = "{0}"


INTERVAL = "{value:.3f} ({lower:.3f}–{upper:.3f}), n = {n}"
DOORS = (
    Door(
        "dicom_read",
        (
            "300 CT slices, raw: processor time, of a bare pydicom loop",
            "300 层 CT，未压缩：处理器时间与直接用 pydicom 之比",
        ),
        ("targets", "lucency load: raw, processor time / pydicom loop", "is"),
        "{0:.2f} ×",
    ),
    Door(
        "dicom_read",
        ("the same: memory at the peak", "同上：内存峰值"),
        ("targets", "lucency load: raw, peak MB", "is"),
        "{0:.0f} MB",
    ),
    Door(
        "dicom_read",
        ("the same in JPEG 2000: wall clock, of SimpleITK's", "同上，JPEG 2000：实际用时与 SimpleITK 之比"),
        ("targets", "lucency load: jpeg2000, wall / SimpleITK", "is"),
        "{0:.2f} ×",
    ),
    Door(
        "dicom_read",
        ("the same in JPEG-LS: wall clock, of SimpleITK's", "同上，JPEG-LS：实际用时与 SimpleITK 之比"),
        ("targets", "lucency load: jpegls, wall / SimpleITK", "is"),
        "{0:.2f} ×",
    ),
    Door(
        "deidentify",
        (
            "de-identification of 300 CT slices with SEG and SR, second look and text search included: files a "
            "second by the clock, of dicognito's, which does neither",
            "去标识化，300 层 CT 及 SEG、SR，含复查与文字搜索：每秒文件数（实际用时）与 dicognito 之比"
            "（后者不做这两项）",
        ),
        ("ratio_wall",),
        "{0:.2f} ×",
    ),
    Door(
        "deidentify",
        (
            "the same without reading back: engine with reading and writing, by processor time",
            "同上，仅引擎与读写，处理器时间",
        ),
        ("ratio_engine",),
        "{0:.2f} ×",
    ),
    Door(
        "deidentify",
        ("attributes of the standard's table left, of 649 planted", "植入标准所列的 649 个属性：残留"),
        ("planted", "ours", "left"),
        "{0:.0f}",
    ),
    Door(
        "midi_style",
        (
            "de-identification, ten checks on 240 planted files of names kept aside: right, of 100",
            "去标识化，十类检查，240 个植入文件（预留姓名）：正确率（%）",
        ),
        ("names", "kept aside", "percent_correct"),
        "{0:.2f}",
    ),
    Door(
        "burned_in",
        (
            "burned-in text: lines found, generated text over real images",
            "图像中的文字：找到的行，生成文字叠加于真实图像",
        ),
        ("lines",),
        INTERVAL,
    ),
    Door(
        "quality_gate",
        (
            "Dice on fetal heads: untouched; degraded; degraded without the rejected ones (share rejected)",
            "胎儿头部 Dice：原图；劣化图；劣化图中去掉被拒者（被拒比例）",
        ),
        ("parts",),
        "{untouched[no gate][dice]:.3f}; {degraded[no gate][dice]:.3f}; {degraded[reject][dice]:.3f}"
        " ({degraded[reject][abstained]:.0%})",
    ),
)
BASELINES = {
    "logistic_regression": ("logistic regression", "逻辑回归"),
    "support_vector_machine": ("support vector machine", "支持向量机"),
    "random_forest": ("random forest", "随机森林"),
    "decision_tree": ("decision tree", "决策树"),
    "majority_class": ("majority class", "多数类"),
    "threshold": ("intensity threshold", "灰度阈值法"),
    "location_prior": ("location prior", "位置先验"),
    "mean boxes": ("mean boxes", "平均框"),
    "Cox on radiomics": ("Cox on radiomics", "影像组学 Cox 模型"),
    "Cox on clinical columns": ("Cox on clinical columns", "临床数据 Cox 模型"),
    "volume of the region": ("volume of the region", "区域体积"),
}

#: Everything else that is written, English and Chinese.
WORDS = {
    "absent": ("not measured yet", "尚未测量"),
    "quality": (
        "| data | minutes | locked part: value (95 % interval), patients | best simple baseline | time, of the budget "
        "| memory, of the forecast | published by others, not re-run here |",
        "| 数据 | 时间预算（分钟） | 锁定测试集：数值（95% 置信区间），患者数 | 最佳简单基线 | 实际用时／预算 "
        "| 实际内存／预测 | 他人发表的结果（此处未重跑） |",
    ),
    "doors": ("| the clinical doors | measured |", "| 临床数据的进出 | 实测 |"),
    "patients": ("{n} patients", "{n} 名患者"),
    "comma": ("; ", "；"),
    "interval": (" ({0:.3f}–{1:.3f})", "（{0:.3f}–{1:.3f}）"),
    "pooled": ("out of fold, {n} patients", "折外预测，{n} 名患者"),
    "cut": ("training was cut short by the clock", "训练因时间预算提前结束"),
    "speed": (
        "| speed, same network and weights | Lucency | MONAI | ratio |",
        "| 速度（网络与权重相同） | Lucency | MONAI | 倍数 |",
    ),
    "train": (
        "training, 3-D U-Net, same batch and augmentations, patches a second",
        "训练：三维 U-Net，批次与数据增强相同，每秒图像块数",
    ),
    "predict": ("prediction, {what}, million voxels a second", "预测：{what}，每秒百万体素"),
    "volumes": ("hippocampus volumes", "海马图像"),
    "mosaics": ("mosaics of 96 × 112 × 96", "96 × 112 × 96 的拼接图像"),
    "dice": ("Dice differs by {d:+.4f}", "Dice 相差 {d:+.4f}"),
    "where": (
        "Measured on: {places}. Every setting is in [benchmarks/results](benchmarks/results); what is equal and what "
        "is not is in [benchmarks/README.md](benchmarks/README.md).",
        "测量环境：{places}。全部设置见 [benchmarks/results](benchmarks/results)，比较条件的异同见 "
        "[benchmarks/README.md](benchmarks/README.md)。",
    ),
    "machine": ("{processor}, {cores} cores, commit {commit}", "{processor}，{cores} 核，提交 {commit}"),
}


def main() -> int:
    """Rewrite both READMEs, or with ``--check`` say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a table is out of date")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result files")
    options = parser.parse_args()
    found = recorded(options.results)
    stale = []
    for name, lang in READMES.items():
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = replaced(before, block(found, lang), name)
        if after == before:
            continue
        stale.append(name)
        if not options.check:
            path.write_text(after, encoding="utf-8", newline="\n")
    print(f"{', '.join(stale) or 'nothing'} {'out of date' if options.check else 'rewritten'}")
    return 1 if options.check and stale else 0


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every recorded result by the name of its file; a trial run (``--quick``) is no result."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return {name: result for name, result in found.items() if not result["quick"]}


def replaced(text: str, new: str, name: str) -> str:
    """Return a README with what stands between its markers exchanged.

    Raises:
        SystemExit: The markers are not there exactly once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{name}: expected {BEGIN} and then {END}, once each")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{new}\n{END}{rest.split(END)[1]}"


def block(found: Mapping[str, dict[str, Any]], lang: str) -> str:
    """Return both tables and where they were measured."""
    quality = [say("quality", lang), rule(say("quality", lang)), *(fit_row(f, found, lang) for f in FITS)]
    speed = [say("speed", lang), rule(say("speed", lang)), train_row(found.get("throughput_train"), lang)]
    speed += predict_rows(found.get("throughput_predict"), lang)
    doors = [say("doors", lang), rule(say("doors", lang)), *(door_row(d, found, lang) for d in DOORS)]
    names = [*(f"fit_{f.name}_{f.minutes}" for f in FITS), "throughput_train", "throughput_predict"]
    names += dict.fromkeys(d.result for d in DOORS)
    used = [found[name] for name in names if name in found]
    where = [say("where", lang, places=places(used, lang))] if used else []
    return "\n\n".join(["\n".join(quality), "\n".join(speed), "\n".join(doors), *where])


def fit_row(fit: Fit, found: Mapping[str, dict[str, Any]], lang: str) -> str:
    """Return the row of one set and budget."""
    result = found.get(f"fit_{fit.name}_{fit.minutes}")
    head, tail = [pick(fit.data, lang), str(fit.minutes)], [pick(fit.published, lang)]
    if result is None:
        return row([*head, *[say("absent", lang)] * 4, *tail])
    part = result.get("judged_part", "locked")
    judged = result["out_of_fold"].get(part, result["locked"])
    values = [measured(name, judged.get(name), lang) for name in fit.metrics]
    if part == "locked":
        values.append(say("patients", lang, n=result["n_patients_locked"]))
    else:
        values.append(say("pooled", lang, n=result["n_patients"][part]))
    if result["time_guard"]:
        values.append(say("cut", lang))
    cells = [joined(values, lang), baseline(result, lang)]
    cells += [ratio(result["profile_to_report_to_budget"]), ratio(result["memory_actual_to_forecast"])]
    return row([*head, *cells, *tail])


def door_row(door: Door, found: Mapping[str, dict[str, Any]], lang: str) -> str:
    """Return what was measured of one thing."""
    value: Any = found.get(door.result)
    if value is None:
        return row([pick(door.what, lang), say("absent", lang)])
    for key in door.path:
        value = value[key]
    said = door.form.format(**value) if isinstance(value, dict) else door.form.format(value)
    return row([pick(door.what, lang), said])


def baseline(result: Mapping[str, Any], lang: str) -> str:
    """Return the strongest simple model with its headline."""
    best = result["best_baseline"]
    if best is None:
        return "–"
    name = pick(BASELINES[best["name"]], lang) if best["name"] in BASELINES else best["name"]
    return f"{name}: {measured(result['headline'], best[result['headline']], lang)}"


def measured(name: str, metric: Mapping[str, Any] | None, lang: str) -> str:
    """Return ``Dice 0.891 (0.885–0.897)``."""
    title = pick(NAMES[name], lang) if name in NAMES else name
    if metric is None or metric["value"] is None:
        return f"{title} –"
    whole = metric["lower"] is not None and metric["upper"] is not None
    span = say("interval", lang).format(metric["lower"], metric["upper"]) if whole else ""
    return f"{title} {metric['value']:.3f}{span}"


def train_row(result: Mapping[str, Any] | None, lang: str) -> str:
    """Return the row of training: our chosen precision against MONAI's plain loop in fp32."""
    if result is None:
        return row([say("train", lang), *[say("absent", lang)] * 3])
    (ours, theirs), times = contest(result["ratios"]), next(iter(result["ratios"].values()))
    rates = result["patches_per_s"]
    return row([say("train", lang), rate(rates, ours), rate(rates, theirs), f"{times:.2f} ×"])


def contest(ratios: Mapping[str, float]) -> tuple[str, str]:
    """Return the two rows that the first ratio compares: ``"ours bf16 to monai fp32, 2 workers"``."""
    ours, _, theirs = next(iter(ratios)).partition(" to ")
    return ours, theirs


def predict_rows(result: Mapping[str, Any] | None, lang: str) -> list[str]:
    """Return a row for each set of images."""
    rows = []
    for name in ("volumes", "mosaics"):
        head = say("predict", lang, what=say(name, lang))
        if result is None:
            rows.append(row([head, *[say("absent", lang)] * 3]))
            continue
        one = result["sets"][name]
        rates = one["megavoxels_per_s"]
        gain = joined([f"{one['ratio']:.2f} ×", say("dice", lang, d=one["dice_difference"])], lang)
        rows.append(row([head, rate(rates, "ours"), rate(rates, one["fastest_monai"]), gain]))
    return rows


def rate(rates: Mapping[str, Mapping[str, float]], name: str) -> str:
    """Return a median with the name of its row, whose first word the column's head repeats."""
    kind = name.partition(" ")[2]
    return f"{rates[name]['median']:.2f}" + (f" ({kind})" if kind else "")


def places(results: Iterable[Mapping[str, Any]], lang: str) -> str:
    """Return every machine and commit behind the results, once each."""
    said = {
        say(
            "machine",
            lang,
            processor=r["machine"]["accelerator"] or r["machine"]["processor"],
            cores=r["machine"]["cores"],
            commit=r["commit"] or "–",
        ): None
        for r in results
    }
    return joined(said, lang)


def ratio(value: float | None) -> str:
    """Return a share of what was promised."""
    return "–" if value is None else f"{value:.2f}"


def joined(words: Iterable[str], lang: str) -> str:
    """Return words as a list in the language."""
    return say("comma", lang).join(words)


def row(cells: Iterable[str]) -> str:
    """Return a line of a table; a bar inside a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rule(head: str) -> str:
    """Return the line below a table's head."""
    return "|" + "---|" * (head.count("|") - 1)


def say(key: str, lang: str, **values: object) -> str:
    """Return a phrase in the language; without values its placeholders stay."""
    text = pick(WORDS[key], lang)
    return text.format(**values) if values else text


def pick(both: tuple[str, str], lang: str) -> str:
    """Return the phrase of the language."""
    return both[lang == "zh"]


if __name__ == "__main__":
    sys.exit(main())
