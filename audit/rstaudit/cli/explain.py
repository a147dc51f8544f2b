"""``rstaudit explain``: an error, a cause, a rule or a setting, in words."""

from __future__ import annotations

from rstaudit.cli.errors import UsageError, suggest
from rstaudit.cli.output import width, write
from rstaudit.cli.parser import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from rstaudit.model.cause import Cause, Error
    from rstaudit.model.setting import Setting
    from rstaudit.report.explain import RuleCard
    from rstaudit.rules.context import Rule

    Subject = Cause | Error | RuleCard | Setting

EXAMPLES = (
    ("rstaudit explain ECONNRESET", "what gives this error, and on which side"),
    ("rstaudit explain 'Connection reset by peer'", "the same, from a log"),
    ("rstaudit explain RST301", "a rule: why, how to confirm it, when to leave it alone"),
    ("rstaudit explain tcp_tw_reuse", "a setting: what it really does"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "id", nargs="*", metavar="ID",
        help="an error as programs show it (ECONNRESET, 104, 'Connection reset by peer', a line"
        " of a log), a cause, a rule id or slug, or a sysctl key",
    )  # fmt: skip
    parser.add_argument(
        "--format", metavar="text|json", type=one_of("format", "text", "json"), default="text"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what is known of each ID, or an overview; raises `UsageError` for an unknown one."""
    subjects = resolve(arguments.id)
    if arguments.format == "json":
        import json

        documents = [as_object(subject) for subject in subjects] or [_overview_object()]
        write(json.dumps(documents[0] if len(documents) == 1 else documents, indent=2) + "\n")
    else:
        rule = "-" * width()
        texts = [as_text(subject, width()) for subject in subjects] or [_overview_text(width())]
        write(f"\n{rule}\n\n".join(texts))
    return 0


def resolve(words: list[str]) -> list[Subject]:
    """What the words name: each word something, or all of them together one phrase."""
    found = [find(word) for word in words]
    known = [subject for subject in found if subject is not None]
    if len(known) == len(words):
        return known
    together = find(" ".join(words))
    if together is not None:
        return [together]
    unknown = next(word for word, subject in zip(words, found, strict=True) if subject is None)
    raise UsageError(_unknown(unknown if known else " ".join(words)))


def find(text: str) -> Subject | None:
    """The rule, cause, setting or error that ``text`` names, tried in this order."""
    from rstaudit.catalogue.causes import causes, find_error

    word = text.strip().casefold()
    return _rule(word) or causes().get(word) or _setting(word) or find_error(text)


def as_text(subject: Subject, columns: int) -> str:
    """The explanation as plain text."""
    from rstaudit.model.cause import Cause, Error
    from rstaudit.report import explain

    if isinstance(subject, Error):
        return explain.explain_error(subject, columns)
    if isinstance(subject, Cause):
        return explain.explain_cause(subject, columns)
    if isinstance(subject, explain.RuleCard):
        return explain.explain_rule(subject, columns)
    from rstaudit.catalogue.load import profiles

    rules = _judges(subject.key)
    return explain.explain_setting(subject, profiles().values(), rules, columns)


def as_object(subject: Subject) -> dict[str, object]:
    """The explanation as a JSON object (contract)."""
    from rstaudit.model.cause import Cause, Error
    from rstaudit.report import explain_json
    from rstaudit.report.explain import RuleCard

    if isinstance(subject, Error):
        return explain_json.error_object(subject)
    if isinstance(subject, Cause):
        return explain_json.cause_object(subject)
    if isinstance(subject, RuleCard):
        return explain_json.rule_object(subject)
    from rstaudit.catalogue.load import profiles

    return explain_json.setting_object(subject, profiles().values(), _judges(subject.key))


def _rule(word: str) -> RuleCard | None:
    from rstaudit.rules.registry import rules

    for rule in rules():
        if word in (rule.id.casefold(), rule.slug.casefold()):
            return _card(rule)
    return None


def _card(rule: Rule) -> RuleCard:
    from rstaudit.catalogue.load import value_rules
    from rstaudit.report.explain import RuleCard

    keys = next((data.keys for data in value_rules() if data.id == rule.id), ())
    return RuleCard(rule.id, rule.slug, rule.title, rule.severity, rule.text(), keys)


def _setting(word: str) -> Setting | None:
    """A setting by its key, dotted or with slashes, or by the last parts of it."""
    from rstaudit.catalogue.load import settings

    key = word.removeprefix("/proc/sys/").replace("/", ".")
    known = settings()
    if key in known:
        return known[key]
    ends = [name for name in known if name.endswith(f".{key}")]
    return known[ends[0]] if len(ends) == 1 else None


def _judges(key: str) -> tuple[str, ...]:
    """The rules that judge a setting by its value."""
    from rstaudit.catalogue.load import value_rules

    return tuple(rule.id for rule in value_rules() if key in rule.keys)


def _overview_text(columns: int) -> str:
    from rstaudit.catalogue.causes import errors
    from rstaudit.report.explain import explain_nothing
    from rstaudit.rules.registry import rules

    return explain_nothing([rule.id for rule in rules()], errors(), columns)


def _overview_object() -> dict[str, object]:
    from rstaudit.catalogue.causes import errors
    from rstaudit.catalogue.load import settings
    from rstaudit.report.explain_json import overview_object
    from rstaudit.rules.registry import rules

    return overview_object(errors(), [rule.id for rule in rules()], settings())


def _unknown(text: str) -> str:
    """One line for something that nothing here is called."""
    from rstaudit.catalogue.causes import causes, errors
    from rstaudit.catalogue.load import settings
    from rstaudit.report.safe import printable
    from rstaudit.rules.registry import rules

    names = [*causes(), *(error.name for error in errors())]
    names += [name for rule in rules() for name in (rule.id, rule.slug)]
    names += [name for key in settings() for name in (key, key.rpartition(".")[2])]
    shown = printable(text if len(text) <= 60 else f"{text[:57]}...")
    near = suggest(text[:200], names) or "; 'rstaudit explain' alone lists what there is"
    return f"nothing here is called '{shown}'{near}"
