"""The options of many protocols on one command line: each in a group of its own, each given only to its owners."""

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .protocol import Protocol

Option = tuple[tuple[str, ...], dict[str, Any]]  # what add_argument got


class _Declared:
    """Stands for a group of argparse and remembers what a protocol adds to it."""

    def __init__(self) -> None:
        self.options: list[Option] = []

    def add_argument(self, *flags: str, **settings: Any) -> None:
        self.options.append((flags, settings))


class ProtocolOptions:
    """Several protocols may have an option of the same name, with a default and a type each.

    Therefore a parser is made for each protocol that is asked for, in which that protocol comes ``first``: a shared
    option belongs to the first that adds it. Under a longer name, such as ``--knn.temperature``, it is one protocol's.
    """

    def __init__(self, protocols: Mapping[str, Protocol]) -> None:
        self.protocols = protocols
        self.options: dict[str, list[Option]] = {}
        self.owners: dict[str, list[str]] = {}  # of flags
        for name, protocol in protocols.items():
            declared = _Declared()
            protocol.add_options(declared)  # type: ignore[arg-type]
            self.options[name] = declared.options
            for flags, _ in declared.options:
                for flag in flags:
                    self.owners.setdefault(flag, []).append(name)
                    self.owners[_of_one(name, flag)] = [name]

    def add_to(self, parser: argparse.ArgumentParser, first: str | None = None) -> None:
        """A group per protocol, with what is only its own or of which it is the first owner; the rest it names."""
        taken: dict[str, str] = {}
        for name in sorted(self.protocols, key=lambda each: each != first):
            options = self.options[name]
            shared = [max(flags, key=len) for flags, _ in options if set(flags) & set(taken)]
            group = parser.add_argument_group(name, self._describe(name, {flag: taken[flag] for flag in shared}))
            for flags, settings in options:
                keyword = _keyword(flags, settings)
                settings = dict(settings, dest=_key(name, keyword))
                if settings.get('action', 'store') in ('store', 'append') and 'choices' not in settings:
                    settings.setdefault('metavar', keyword.upper())
                if not set(flags) & set(taken):
                    taken.update(dict.fromkeys(flags, name))
                    group.add_argument(*flags, **settings)
                long = [_of_one(name, flag) for flag in flags]
                group.add_argument(*long, **dict(settings, default=argparse.SUPPRESS, help=argparse.SUPPRESS))

    def _describe(self, name: str, shared: Mapping[str, str]) -> str:
        protocol = self.protocols[name]
        text = protocol.summary
        if protocol.layout:
            place = f'ROOT or ROOT/{protocol.subfolder}' if protocol.subfolder else 'ROOT'
            text += f'; {place} holds {protocol.layout}'
        if shared:
            text += f'. Also {", ".join(f"{flag} as {owner}" for flag, owner in shared.items())}'
        return textwrap.fill(text, 76)

    def read(self, parsed: argparse.Namespace, name: str) -> dict[str, Any]:
        """The keywords of ``run`` of the protocol ``name``, from a parser in which it came first."""
        keywords = [_keyword(flags, settings) for flags, settings in self.options[name]]
        return {keyword: getattr(parsed, _key(name, keyword)) for keyword in keywords}

    def refuse_others(self, arguments: Sequence[str], asked: Sequence[str]) -> None:
        """Raises ValueError for an option whose every owner has not been asked for: it would change nothing."""
        for word in arguments:
            owners = self.owners.get(word.split('=')[0])
            if owners and not set(owners) & set(asked):
                raise ValueError(
                    f'{word.split("=")[0]}: an option of {" and ".join(owners)}; asked for: {", ".join(asked)}'
                )


def _keyword(flags: Sequence[str], settings: Mapping[str, Any]) -> str:
    return settings.get('dest') or max(flags, key=len).lstrip('-').replace('-', '_')


def _of_one(name: str, flag: str) -> str:
    return f'--{name}.{flag.lstrip("-")}'


def _key(name: str, keyword: str) -> str:
    """Where the namespace keeps it: apart from the common options and from those of other protocols."""
    return f'{name}.{keyword}'
