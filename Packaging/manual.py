#!/usr/bin/env python3
"""Writes the manual pages of a program from what it says of itself.

    manual.py PROGRAM SECTION FOLDER

asks PROGRAM for --experimental-dump-help (swift-argument-parser's description of its commands) and
writes PROGRAM.SECTION. Each subcommand of a program of section 1 has a page of its own, such as
branchline-join(1), as `man branchline join` looks for it. Pages bear the date of
SOURCE_DATE_EPOCH.
"""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path


def main(program, section, folder):
    command = describe(program)
    subcommands = visible(command)
    apart = subcommands if section == "1" else []
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for page in [command, *apart]:
        name = "-".join([*page.get("superCommands", []), page["commandName"]])
        text = Page(name, section, command, apart).of(page)
        (folder / f"{name}.{section}").write_text(text)


def describe(program):
    answer = subprocess.run(
        [program, "--experimental-dump-help"], check=True, capture_output=True, text=True)
    description = json.loads(answer.stdout)
    if description["serializationVersion"] not in (0, 1):
        sys.exit(f"{program} describes itself in another format than is known here")
    return description["command"]


def visible(command):
    return [
        each for each in command.get("subcommands", [])
        if each["shouldDisplay"] and each["commandName"] != "help"]


class Page:
    """One page, in the macros of man(7)."""

    def __init__(self, name, section, program, apart):
        self.name, self.section, self.program, self.apart = name, section, program, apart
        self.lines = []

    def of(self, command):
        is_program = command is self.program
        moment = datetime.datetime.fromtimestamp(
            int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
        self.add(f'.TH "{escaped(self.name.upper())}" "{self.section}" "{moment:%Y-%m-%d}" '
                 '"Branchline" "Branchline manual"')
        # Long words of examples stay in one piece; lines are not stretched to the margin.
        self.add(".nh", ".ad l")
        self.add(".SH NAME", f"{escaped(self.name)} \\- {escaped(sentence(command))}")
        self.add(".SH SYNOPSIS")
        self.synopses(command, nested=not (is_program and self.apart))
        if text := command.get("discussion"):
            self.add(".SH DESCRIPTION")
            self.prose(text)
        self.options(command, ".SH OPTIONS")
        if is_program and self.apart:
            self.list_pages()
        else:
            self.subcommands(command)
        self.see_also(is_program)
        return "\n".join(self.lines) + "\n"

    def add(self, *lines):
        self.lines.extend(lines)

    def synopses(self, command, nested):
        """One line for each command that does something."""
        inner = visible(command)
        if not inner or command.get("defaultSubcommand") or not nested:
            self.synopsis(command, "command" if inner else None)
        for each in inner if nested else []:
            self.synopses(each, nested)

    def synopsis(self, command, placeholder):
        words = [f"\\fB{escaped(' '.join(path(command)))}\\fR"]
        if placeholder:
            words.append(f"\\fI{placeholder}\\fR")
        arguments = shown(command)
        if any(each["kind"] != "positional" for each in arguments):
            words.append("[\\fIoptions\\fR]")
        for each in arguments:
            if each["kind"] == "positional":
                word = f"\\fI{escaped(each['valueName'])}\\fR"
                word += " ..." if each["isRepeating"] else ""
                words.append(f"[{word}]" if each["isOptional"] else word)
        if self.lines[-1] != ".SH SYNOPSIS":
            self.add(".br")
        self.add(" ".join(words))

    def prose(self, text):
        """Paragraphs; lines that are set in or set out like code stay as they are."""
        for block in text.split("\n\n"):
            lines = block.split("\n")
            self.add(".PP")
            literal = False
            for line in lines:
                if line.startswith("  ") != literal:
                    literal = not literal
                    self.add(*([".RS 4", ".nf"] if literal else [".fi", ".RE"]))
                self.add(escaped(line[2:] if literal else line))
            if literal:
                self.add(".fi", ".RE")

    def options(self, command, heading):
        groups = {}
        for argument in shown(command):
            groups.setdefault(argument.get("sectionTitle"), []).append(argument)
        if groups:
            self.add(heading)
        for title, arguments in groups.items():
            if title:
                self.add(".PP", f"{escaped(title)}:")
            for argument in arguments:
                self.option(argument)

    def option(self, argument):
        value = f"\\fI{escaped(argument.get('valueName', ''))}\\fR"
        if argument["kind"] == "positional":
            words = value
        else:
            words = ", ".join(
                f"\\fB{escaped(dashed(name))}\\fR" for name in argument["names"])
            if argument["kind"] == "option":
                words += f" {value}"
        self.add(".TP", words)
        text = " ".join(
            part for part in (argument.get("abstract"), argument.get("discussion")) if part)
        values = argument.get("allValues")
        if values and not any(each in text for each in values):
            text += f" (values: {', '.join(values)})"
        default = argument.get("defaultValue")
        if default and argument["kind"] == "option" and "default" not in text:
            text += f" (default: {default})"
        self.add(escaped(text) or "\\&")

    def subcommands(self, command):
        for each in visible(command):
            if not visible(each):
                self.add(f".SH {escaped(' '.join(path(each)).upper())}", escaped(each["abstract"]))
                if text := each.get("discussion"):
                    self.prose(text)
                self.options(each, ".PP")
            self.subcommands(each)

    def list_pages(self):
        self.add(".SH COMMANDS")
        for each in self.apart:
            page = "-".join(path(each))
            self.add(".TP", f"\\fB{escaped(page)}\\fR({self.section})", escaped(each["abstract"]))

    def see_also(self, is_program):
        pages = {"branchline(1)", "branchlined(8)", "branchline-coordinator(8)"}
        if is_program:
            pages.add("wg(8)")
        pages.discard(f"{self.name}({self.section})")
        self.add(".SH SEE ALSO")
        self.add(",\n".join(
            f".BR {escaped(page[:-3])} {page[-3:]}" for page in sorted(pages)
        ).replace(",\n", " ,\n"))


def path(command):
    return [*command.get("superCommands", []), command["commandName"]]


def shown(command):
    """What tells the version or this text is on every page of a terminal, and needs no place."""
    return [
        each for each in command.get("arguments", [])
        if each["shouldDisplay"] and each["valueName"] not in ("version", "help")]


def sentence(command):
    text = command["abstract"].rstrip(".")
    return text[0].lower() + text[1:]


def dashed(name):
    return ("--" if name["kind"] == "long" else "-") + name["name"]


def escaped(text):
    """Keeps groff from reading text as its own language."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    text = text.replace("'", "\\(aq").replace("~", "\\(ti").replace("^", "\\(ha")
    return "\n".join(
        f"\\&{line}" if line.startswith(".") else line for line in text.split("\n"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: manual.py PROGRAM SECTION FOLDER")
    main(*sys.argv[1:])
