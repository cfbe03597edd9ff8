"""Finds what is public in the product and used by nothing in the product.

What modules define (functions, classes, and constants that begin with a capital) is resolved by imports, so
that a namesake in another module is no caller.
A reference is: the name used in its own module outside its own definition; an import of it; an attribute of
its imported module (any attribute in a file that keeps the module itself in a table); its dotted path in a
string (as settings and Celery name things) or in a file that is not Python; for a template's tag or filter,
its use in a template.

Methods are looked for by their names alone, in classes of our own: what overrides a method of a library is
called by the library.
"""

import ast
import re
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# A framework calls what is registered with it by one of these.
REGISTERING = frozenset(
    {"callback", "command", "connect", "receiver", "register", "shared_task", "task"}
)
# Frameworks find what is in these by itself.
FOUND_BY_NAME = ("/migrations/", "/controlplane/settings/", "/management/", "/admin.py", "/apps.py")
NOT_TEXT = frozenset({".gz", ".png", ".ico", ".woff2", ".mo", ".pyc", ".svg"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True, order=True)
class Definition:
    """A public name of a module, or a method as CLASS.METHOD."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class _Module:
    """nodes: of the whole tree. modules: names that stand for a module. names: names that came from one."""

    name: str
    path: Path
    is_package: bool
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    source: str
    shown: frozenset[str]
    modules: dict[str, str] = field(default_factory=dict)
    names: dict[str, Definition] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Text:
    """strings: of Python files, and all of what is not Python. templates: the pages."""

    strings: tuple[str, ...]
    templates: str

    @property
    def joined(self) -> str:
        """All strings as one text."""
        return "\n".join(self.strings)


class Product:
    """The code below root. product: its packages; users: folders that call it and are not looked at."""

    def __init__(self, root: Path, product: Sequence[str], users: Sequence[str] = ()) -> None:
        folders = (*product, *users)
        self._root, self._product = root, frozenset(product)
        self._modules = {one.name: one for folder in folders for one in _modules(root, folder)}
        self._passed_on: dict[Definition, Definition] = {}
        self._used: set[Definition] = set()
        # Packages first: what a package takes in hides its submodule of that name.
        for module in sorted(self._modules.values(), key=lambda one: not one.is_package):
            self._resolve_imports(module)
        for module in self._modules.values():
            self._used |= {Definition(module.name, name) for name in _used_at_home(module)}
            self._used |= set(self._attributes(module))
        self._text = _text(root, folders, list(self._modules.values()))

    def without_callers(self) -> list[str]:
        """Functions, classes and constants that nothing refers to."""
        used = {self._origin(one) for one in self._used}
        text = self._text.joined
        return sorted(
            str(one)
            for module in self._looked_at()
            for one in _definitions(module)
            if one not in used and not _is_named(one, text) and not self._is_tag(one)
        )

    def handed_on_for_nothing(self) -> list[str]:
        """What a package takes in from its modules, and nobody takes from the package."""
        return sorted(
            str(one)
            for one in self._passed_on
            if self._modules[one.module].is_package
            and one.module.split(".")[0] in self._product
            and one not in self._used
        )

    def methods_without_callers(self) -> list[str]:
        """Methods, of classes that inherit from none of a library's, whose name nothing mentions."""
        mentions: dict[str, int] = {}
        for module in self._modules.values():
            for node in module.nodes:
                if isinstance(node, ast.Attribute):
                    mentions[node.attr] = mentions.get(node.attr, 0) + 1
        strings = frozenset(self._text.strings)
        return sorted(
            str(Definition(module.name, f"{owner.name}.{method.name}"))
            for module in self._looked_at()
            for owner, method in self._methods(module)
            if mentions.get(method.name, 0) <= _mentions_in(method)
            and method.name not in strings
            and not re.search(rf"\.{method.name}\b", self._text.templates)
        )

    def _looked_at(self) -> Iterator[_Module]:
        for module in self._modules.values():
            place = f"/{module.path.relative_to(self._root).as_posix()}"
            is_found = any(part in place for part in FOUND_BY_NAME)
            if module.name.split(".")[0] in self._product and not is_found:
                yield module

    def _resolve_imports(self, module: _Module) -> None:
        for node in module.nodes:
            if isinstance(node, ast.Import):
                for one in node.names:
                    module.modules[one.asname or one.name] = one.name
            elif isinstance(node, ast.ImportFrom):
                source = _absolute(module, node)
                for one in node.names:
                    self._note_import(module, source, one.name, one.asname or one.name)

    def _note_import(self, module: _Module, source: str, name: str, local: str) -> None:
        """An import is a use, but for a façade that only hands the name on."""
        is_taken_in = source in self._modules and name in self._modules[source].names
        if f"{source}.{name}" in self._modules and not is_taken_in:
            module.modules[local] = f"{source}.{name}"
        elif source in self._modules:
            origin = Definition(source, name)
            module.names[local] = origin
            is_facade = local in module.shown or module.is_package
            if is_facade:
                self._passed_on[Definition(module.name, local)] = origin
            if not is_facade or local in _used_names(module):
                self._used.add(origin)

    def _attributes(self, module: _Module) -> Iterator[Definition]:
        """What is taken from modules that were imported as such."""
        attributes = [one for one in module.nodes if isinstance(one, ast.Attribute)]
        for node in attributes:
            owner = _dotted(node.value)
            for candidate in (module.modules.get(owner), owner):
                if candidate in self._modules:
                    yield Definition(candidate, node.attr)
        for name in _kept_at_the_top(module.tree) & set(module.modules):
            yield from (Definition(module.modules[name], one.attr) for one in attributes)

    def _origin(self, one: Definition) -> Definition:
        while one in self._passed_on:
            one = self._passed_on[one]
        return one

    def _methods(self, module: _Module) -> Iterator[tuple[ast.ClassDef, _Function]]:
        """Of classes all of whose bases are our own."""
        for owner in module.tree.body:
            if isinstance(owner, ast.ClassDef) and all(
                self._is_own(module, base) for base in owner.bases
            ):
                for method in owner.body:
                    if isinstance(method, _Function) and _is_looked_for(method):
                        yield owner, method

    def _is_own(self, module: _Module, base: ast.expr) -> bool:
        name = _dotted(base.value if isinstance(base, ast.Subscript) else base)
        owner = module.modules.get(name.rpartition(".")[0], "")
        is_here = any(
            isinstance(one, ast.ClassDef) and one.name == name for one in module.tree.body
        )
        return is_here or name in module.names or owner in self._modules

    def _is_tag(self, one: Definition) -> bool:
        if ".templatetags." not in f".{one.module}.":
            return False
        return bool(re.search(rf"(?:\||\{{%)\s*{one.name}\b", self._text.templates))


def _modules(root: Path, folder: str) -> Iterator[_Module]:
    for path in sorted((root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        source = path.read_text()
        tree = ast.parse(source)
        name = ".".join(parts[:-1] if is_package else parts)
        shown = frozenset(_all_of(tree))
        yield _Module(name, path, is_package, tree, tuple(ast.walk(tree)), source, shown)


def _all_of(tree: ast.Module) -> Iterator[str]:
    """The names of __all__."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in statement.targets
        ):
            yield from _strings(tuple(ast.walk(statement.value)))


def _definitions(module: _Module) -> Iterator[Definition]:
    for node in module.tree.body:
        if isinstance(node, _Function | ast.ClassDef) and _is_looked_for(node):
            yield Definition(module.name, node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for one in (one for target in targets for one in ast.walk(target)):
                if isinstance(one, ast.Name) and one.id[0].isupper():
                    yield Definition(module.name, one.id)


def _is_looked_for(node: _Function | ast.ClassDef) -> bool:
    """Whether it is public, and nothing is registered by its decorators."""
    names = {_last(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list}
    return not node.name.startswith("_") and not names & REGISTERING


def _last(node: ast.expr) -> str:
    """The last name of a.b.c."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _mentions_in(method: _Function) -> int:
    return sum(
        isinstance(one, ast.Attribute) and one.attr == method.name for one in ast.walk(method)
    )


def _absolute(module: _Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _used_names(module: _Module) -> set[str]:
    return {
        node.id
        for node in module.nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _used_at_home(module: _Module) -> set[str]:
    """The module's own names that are used in it outside their own definitions."""
    top = symtable.symtable(module.source, str(module.path), "exec")
    used = {one.get_name() for one in top.get_symbols() if one.is_referenced()}
    for child in top.get_children():
        used |= _globals_of(child) - {child.get_name()}
    return used


def _globals_of(table: symtable.SymbolTable) -> set[str]:
    found = {
        one.get_name() for one in table.get_symbols() if one.is_global() and one.is_referenced()
    }
    return found.union(*(_globals_of(child) for child in table.get_children()))


def _kept_at_the_top(tree: ast.Module) -> set[str]:
    """Names that statements of the module itself use as values: a table of modules, for instance."""
    statements = [
        one for one in tree.body if isinstance(one, ast.Assign | ast.AnnAssign | ast.Expr)
    ]
    nodes = [node for statement in statements for node in ast.walk(statement)]
    owners = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    return {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in owners}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _text(root: Path, folders: Sequence[str], modules: Sequence[_Module]) -> _Text:
    strings = [text for module in modules for text in _strings(module.nodes)]
    templates = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.suffix != ".py" and path.suffix not in NOT_TEXT:
                strings.append(path.read_text(errors="replace"))
                if path.suffix in {".html", ".txt", ".xml"}:
                    templates.append(strings[-1])
    return _Text(tuple(strings), "\n".join(templates))


def _strings(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """All strings but texts about the code."""
    about = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in about:
            yield node.value


def _is_named(one: Definition, text: str) -> bool:
    if one.module not in text:
        return False
    module = re.escape(one.module)
    return bool(
        re.search(rf"\b{module}[.:]{one.name}\b|from {module} import [^\n]*\b{one.name}\b", text)
    )
