"""The kernel boots on every machine it is promised for, and says in one line
why it does not boot on others."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import KERNEL, BootSystem
from stag.devicetree import Devicetree, Node, of_qemu
from stag.errors import GuestExit
from stag.images import move_load_address
from stag.machine import MachineConfig, run_to_exit
from stag.pagetable import PAGE
from stag.symbols import Symbols
from stag.system import System

MIB = 1 << 20
GIB = 1 << 30
slow = pytest.mark.slow
COMMAND = "run=usertests"
QUICK = "run=hello"
SAID = {COMMAND: r"usertests: \d+ passed, 0 failed", QUICK: "hello from user mode"}
COMMANDS = [QUICK, pytest.param(COMMAND, marks=pytest.mark.slow)]


def check_boot(config: MachineConfig, patience: float = 120) -> None:
    """To user mode on the whole machine, and what the command says. The exit status
    alone does not tell: a kernel that only says why it stops powers off with 0."""
    code, text = run_to_exit(config, patience)
    assert code == 0, f"exit status {code}; the console said last:\n{text[-1500:]}"
    harts = f"{config.harts} hart{'s' if config.harts > 1 else ''}"
    for wanted in (rf"Stag: {harts}, \d+ MiB, {config.mmu.capitalize()}", SAID[config.arguments]):
        assert re.search(wanted, text), f"no {wanted!r}; the console said last:\n{text[-1500:]}"


# The matrix. `make test` takes a few of its points, the slow tests all.


@pytest.mark.parametrize(
    ("harts", "memory", "mmu"),
    [(1, "64M", "sv48"), (2, "128M", "sv39"), (16, "2G", "sv39"), (4, "8G", "sv48")],
)
def test_some_machines(harts: int, memory: str, mmu: str) -> None:
    check_boot(MachineConfig(KERNEL, harts, memory, mmu, arguments=QUICK))  # type: ignore[arg-type]


@slow
@pytest.mark.parametrize("mmu", ["sv39", "sv48"])
@pytest.mark.parametrize("memory", ["64M", "128M", "2G", "8G"])
@pytest.mark.parametrize("harts", [1, 2, 4, 8, 16])
def test_all_machines(harts: int, memory: str, mmu: str) -> None:
    config = MachineConfig(KERNEL, harts, memory, mmu, arguments=COMMAND)  # type: ignore[arg-type]
    check_boot(config, patience=900)


def test_usertests() -> None:
    check_boot(MachineConfig(KERNEL, 4, arguments=COMMAND), patience=600)


def test_most_memory() -> None:
    """All that the linear map has room for. The host gives it page by page."""
    backend = "memory-backend-ram,id=ram,size=128G,reserve=off"
    extra = ("-object", backend, "-machine", "memory-backend=ram")
    check_boot(MachineConfig(KERNEL, 2, "128G", arguments=QUICK, extra=extra))


def test_least_memory() -> None:
    check_boot(MachineConfig(KERNEL, 1, "32M", arguments=COMMAND))


def test_failure_shows_in_the_exit_status() -> None:
    """Otherwise none of these tests would mean anything."""
    code, _ = run_to_exit(MachineConfig(KERNEL, 1, arguments="run=no-such-program"))
    assert code == 1


def test_one_failure_among_commands_is_enough() -> None:
    code, text = run_to_exit(MachineConfig(KERNEL, 1, arguments="run=hello; no-such-program; mem"))
    assert code == 1
    assert "mem" in text.rpartition("no-such-program")[2]


# Places


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("mmu", ["sv39", "sv48"])
@pytest.mark.parametrize("address", [0x80200000, 0x80400000, 0x84600000], ids=hex)
def test_load_addresses(tmp_path: Path, address: int, mmu: str, command: str) -> None:
    linked = min(segment.physical for segment in Symbols(KERNEL).segments)
    image = move_load_address(KERNEL, tmp_path / "kernel.elf", address - linked)
    check_boot(MachineConfig(image, 2, mmu=mmu, arguments=command), 600)  # type: ignore[arg-type]


def tree_of(harts: int, memory: str, *pieces: tuple[int, int]) -> Devicetree:
    tree = of_qemu(harts=harts, memory=memory)
    tree.set_memory(*pieces)
    return tree


TWO_BANKS = {
    "small-hole": ("256M", (0x80000000, 64 * MIB), (0x8C000000, 64 * MIB)),
    "odd-sizes": ("256M", (0x80000000, 33 * MIB + 3 * PAGE), (0x88765000, 0x789B000)),
    "other-gigabyte": ("4G", (0x80000000, 64 * MIB), (0xC8000000, GIB), (0x110000000, GIB + MIB)),
    "second-larger": ("1G", (0x80000000, 40 * MIB), (0x90000000, 0x30000000)),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("mmu", ["sv39", "sv48"])
@pytest.mark.parametrize("banks", TWO_BANKS)
def test_banks_with_holes(tmp_path: Path, banks: str, mmu: str, command: str) -> None:
    memory, *pieces = TWO_BANKS[banks]
    tree = tree_of(2, memory, *pieces).write(tmp_path / "machine.dtb")
    config = MachineConfig(
        KERNEL,
        2,
        memory,
        mmu,  # type: ignore[arg-type]
        command,
        devicetree=tree,
    )
    check_boot(config, 600)


def test_every_bank_is_used(boot_system: BootSystem, tmp_path: Path) -> None:
    memory, *pieces = TWO_BANKS["small-hole"]
    tree = tree_of(2, memory, *pieces).write(tmp_path / "machine.dtb")
    system = boot_system(harts=2, memory=memory, devicetree=tree)
    system.run_to_prompt()
    state = system.allocation()
    state.check()
    total = sum(size for _, size in pieces)
    assert state.pages * PAGE > total - 4 * MIB
    for start, size in pieces:
        inside = [
            bank
            for bank in state.banks
            if start <= system.memory.translate(bank.base) < start + size
        ]
        assert inside, f"no bank of pages in the RAM at {start:#x}"


def test_two_memory_ranges_in_one_node(tmp_path: Path) -> None:
    tree = of_qemu(harts=1, memory="256M")
    (name,) = [name for name in tree.root.children if name.startswith("memory")]
    tree.node(name).set_wide("reg", 0x8C000000, 64 * MIB, 0x80000000, 64 * MIB)
    path = tree.write(tmp_path / "machine.dtb")
    check_boot(MachineConfig(KERNEL, 1, "256M", arguments=QUICK, devicetree=path))


def test_image_in_the_second_bank(tmp_path: Path) -> None:
    tree = tree_of(1, "256M", (0x80000000, 16 * MIB), (0x88000000, 128 * MIB))
    image = move_load_address(KERNEL, tmp_path / "kernel.elf", 0x88200000 - 0x80200000)
    path = tree.write(tmp_path / "machine.dtb")
    check_boot(MachineConfig(image, 1, "256M", arguments=QUICK, devicetree=path))


def test_memory_full_of_garbage(boot_system: BootSystem, tmp_path: Path) -> None:
    """RAM holds anything when the power comes on, and the kernel's own variables
    are zero only after it has cleared them."""
    path = tmp_path / "ram"
    path.write_bytes(b"\xa5" * (64 * MIB))
    backend = f"memory-backend-file,id=ram,size=64M,mem-path={path},share=off"
    extra = ("-object", backend, "-machine", "memory-backend=ram")
    system = boot_system(harts=4, memory="64M", extra=extra)
    system.run_to_entry()
    start, end = system.symbols["bss_start"], system.symbols["bss_end"]
    offset = system.load_address - system.symbols["_start"]
    system.physical.write(start + offset, b"\xa5" * (end - start))
    system.run_to_prompt()
    assert system.command("hello").startswith("hello")


# Machines that can't be: told through a changed devicetree at the kernel's first
# instruction, so that the firmware's own console still works.


def boot_with(
    system: System, change: Callable[[Devicetree], None] | bytes, patience: float = 20
) -> str:
    """What the kernel says on such a machine."""
    hart = system.run_to_entry()
    if isinstance(change, bytes):
        data = change
    else:
        tree = system.read_devicetree(hart)
        change(tree)
        data = tree.flatten()
    if data:
        system.replace_devicetree(hart, data)
    else:
        system.remote.set_register(hart, "a1", 0)
    return system.harts.let_panic(patience)


def check_one_line(text: str, wanted: str) -> None:
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, f"not one line, but:\n{text}"
    assert re.search(wanted, lines[0]), f"no {wanted!r} in: {lines[0]}"


def remove_uart(tree: Devicetree) -> None:
    for path in tree.compatible("ns16550a"):
        tree.remove(path)


def remove_plic(tree: Devicetree) -> None:
    for path in tree.compatible("riscv,plic0"):
        tree.remove(path)


def remove_harts(tree: Devicetree) -> None:
    for name in [name for name in tree.node("/cpus").children if name.startswith("cpu@")]:
        tree.remove(f"/cpus/{name}")


def remove_timebase(tree: Devicetree) -> None:
    del tree.node("/cpus").properties["timebase-frequency"]


def no_memory(tree: Devicetree) -> None:
    tree.set_memory()


def empty_memory(tree: Devicetree) -> None:
    tree.set_memory((0x80000000, 0))


def endless_memory(tree: Devicetree) -> None:
    tree.set_memory((0x80000000, (1 << 64) - 1))


def memory_twice(tree: Devicetree) -> None:
    tree.set_memory((0x80000000, 64 * MIB), (0x82000000, 64 * MIB))


def memory_elsewhere(tree: Devicetree) -> None:
    tree.set_memory((0x84000000, 64 * MIB))


def tiny_memory(tree: Devicetree) -> None:
    """The image fits, little else does."""
    last = Symbols(KERNEL).segments[-1]
    size = -(-(last.physical + last.size - 0x80200000) // PAGE) * PAGE
    tree.set_memory((0x80200000, size + 8 * PAGE))


def many_pieces(tree: Devicetree) -> None:
    tree.set_memory(*((0x80000000 + i * 16 * MIB, 8 * MIB) for i in range(100)))


def scattered(tree: Devicetree) -> None:
    """As many pieces as a devicetree may tell of, and reserved pages that cut each."""
    tree.set_memory(*((0x80000000 + i * 4 * MIB, 3 * MIB) for i in range(25)))
    tree.reservations += [(0x80000000 + i * 4 * MIB + MIB, PAGE) for i in range(1, 21)]


def deep_tree(tree: Devicetree) -> None:
    node = tree.root
    for _ in range(200):
        node.children["deep"] = Node()
        node = node.children["deep"]


def plic_of(tree: Devicetree) -> Node:
    (path,) = tree.compatible("riscv,plic0")
    return tree.node(path)


def endless_plic(tree: Devicetree) -> None:
    plic_of(tree).set_wide("reg", 0xC000000, (1 << 64) - 0xC000000)


def last_plic(tree: Devicetree) -> None:
    plic_of(tree).set_wide("reg", (1 << 64) - 0x600000, 0x600000)


def two_plics(tree: Devicetree) -> None:
    """As with a PLIC for each socket: the first one has no place for these harts."""
    plic = plic_of(tree)
    other = Node(dict(plic.properties))
    other.set_cells("interrupts-extended", 999, 11, 999, 9)
    for path in tree.compatible("riscv,plic0"):
        parent = tree.node(path.rpartition("/")[0])
        parent.children = {"plic@1000000": other, **parent.children}


def uart_of(tree: Devicetree) -> Node:
    (path,) = tree.compatible("ns16550a")
    return tree.node(path)


BROKEN: dict[str, tuple[Callable[[Devicetree], None] | bytes, str]] = {
    "no-uart": (remove_uart, "(?i)uart"),
    "no-plic": (remove_plic, "(?i)plic|interrupt controller"),
    "no-harts": (remove_harts, "(?i)hart|cpu"),
    "no-timebase": (remove_timebase, "(?i)timebase"),
    "no-memory": (no_memory, "(?i)memory|RAM"),
    "empty-memory": (empty_memory, "(?i)memory|RAM"),
    "endless-memory": (endless_memory, "(?i)memory|RAM"),
    "memory-twice": (memory_twice, "(?i)memory|RAM"),
    "memory-elsewhere": (memory_elsewhere, "(?i)loaded at 0x80200000.*RAM"),
    "tiny-memory": (tiny_memory, "(?i)memory|RAM"),
    "many-pieces": (many_pieces, "(?i)memory|RAM"),
    "scattered": (scattered, "more than .* separate pieces of RAM"),
    "deep-tree": (deep_tree, "(?i)devicetree"),
    "endless-plic": (endless_plic, "(?i)device at 0xc000000 is out of reach"),
    "last-plic": (last_plic, "(?i)device at 0xffffffffffa00000 is out of reach"),
    "small-plic": (lambda tree: plic_of(tree).set_wide("reg", 0xC000000, PAGE), "PLIC"),
    "two-plics": (two_plics, "PLIC"),
    "no-interrupt": (lambda tree: uart_of(tree).set_cells("interrupts", 0), "PLIC.*interrupt 0,"),
    "high-interrupt": (lambda tree: uart_of(tree).set_cells("interrupts", 5000000), "PLIC"),
    "slow-clock": (
        lambda tree: tree.node("/cpus").set_cells("timebase-frequency", 99),
        "timebase",
    ),
    "no-tree": (b"", "(?i)devicetree|trap at boot"),
    "garbage": (bytes(range(256)) * 16, "(?i)devicetree"),
    "half-a-header": (b"\xd0\x0d\xfe\xed" + bytes(4092), "(?i)devicetree"),
}


@pytest.mark.parametrize("machine", BROKEN)
def test_impossible_machines(boot_system: BootSystem, machine: str) -> None:
    change, wanted = BROKEN[machine]
    system = boot_system(harts=2)
    check_one_line(boot_with(system, change), wanted)
    # It may power off while we look.
    with contextlib.suppress(GuestExit):
        assert system.machine.ended or system.harts.at_rest(), system.harts.table()


def test_odd_but_possible(boot_system: BootSystem) -> None:
    """A memory node of no size beside the true one, nodes in another order,
    and an unknown device are no reason to stop."""

    def change(tree: Devicetree) -> None:
        tree.set_memory(*tree.memory, (0x400000000, 0))
        tree.root.children = dict(reversed(tree.root.children.items()))
        tree.root.children["unknown@12345"] = Node({"reg": bytes(16), "strange": bytes(333)})
        tree.root.properties["compatible"] += b"riscv,cpu-intc\0"  # no hart's: nothing is above

    system = boot_system(harts=2, arguments=QUICK)
    text = boot_with(system, change, patience=60)
    assert "stag$ hello" in text, text


def test_disabled_device_before_the_true_one(boot_system: BootSystem) -> None:
    def change(tree: Devicetree) -> None:
        (path,) = tree.compatible("ns16550a")
        parent = tree.node(path.rpartition("/")[0])
        other = Node({**uart_of(tree).properties, "status": b"disabled\0"})
        other.set_wide("reg", 0x10003000, 0x100)
        parent.children = {"serial@10003000": other, **parent.children}

    text = boot_with(boot_system(harts=2, arguments=QUICK), change, patience=60)
    assert "stag$ hello" in text, text


def check_kept(system: System, *ranges: tuple[int, int]) -> None:
    """Nothing of these (start, size) ranges is the page allocator's, its table
    included."""
    for bank in system.allocation().banks:
        start = system.memory.translate(bank.entries)
        end = system.memory.translate(bank.base) + bank.size
        for kept, size in ranges:
            assert end <= kept or kept + size <= start, f"{kept:#x} is handed out"


def test_reserved_ranges_in_one_node(boot_system: BootSystem) -> None:
    """All of them are kept from the page allocator."""
    first, second = (0x84000000, MIB), (0x86000000, 32 * MIB)

    def change(tree: Devicetree) -> None:
        parent = tree.root.children.setdefault("reserved-memory", Node())
        parent.set_cells("#address-cells", 2)
        parent.set_cells("#size-cells", 2)
        parent.children["two@84000000"] = node = Node()
        node.set_wide("reg", *first, *second)

    system = boot_system(harts=1)
    hart = system.run_to_entry()
    tree = system.read_devicetree(hart)
    change(tree)
    system.replace_devicetree(hart, tree.flatten())
    system.run_to_prompt()
    check_kept(system, first, second)


def test_boot_hart_comes_last(boot_system: BootSystem) -> None:
    """Behind more harts than the kernel uses."""
    system = boot_system(harts=2)
    hart = system.run_to_entry()
    tree = system.read_devicetree(hart)
    cpus = tree.node("/cpus").children
    own = cpus.pop(f"cpu@{hart}")
    for number in range(100, 116):
        cpus[f"cpu@{number}"] = other = copy.deepcopy(own)
        other.set_cells("reg", number)
    cpus[f"cpu@{hart}"] = own
    system.replace_devicetree(hart, tree.flatten())
    system.harts.run("page_alloc_init")
    assert system.variable("hart_count") == 16
    ids = system.symbols["machine_description"] + (
        system.symbols.struct("machine_description")["hart_ids"].offset
    )
    assert system.memory.u64(ids) == hart
    assert system.machine.serial.text.count("using only 16 harts") == 1


def test_hart_numbers_with_gaps(boot_system: BootSystem) -> None:
    """Three harts of four are in the devicetree: the kernel uses just those."""
    system = boot_system(harts=4)
    hart = system.run_to_entry()
    tree = system.read_devicetree(hart)
    left_out = 1 if hart != 1 else 2
    tree.remove(f"/cpus/cpu@{left_out}")
    for path in (f"/cpus/cpu-map/cluster0/core{left_out}",):
        if f"core{left_out}" in tree.node(path.rpartition("/")[0]).children:
            tree.remove(path)
    system.replace_devicetree(hart, tree.flatten())
    system.wait_for("stag$ ")
    assert system.variable("hart_count") == 3
    assert system.harts.mode(left_out) == 3, "the hart that is not there was started"


def change_tree(system: System, change: Callable[[Devicetree, int], None]) -> int:
    """Boot on a machine that is told of a little differently, by change(tree, the
    boot hart). That hart; it stands at the kernel's first instruction."""
    hart = system.run_to_entry()
    tree = system.read_devicetree(hart)
    change(tree, hart)
    system.replace_devicetree(hart, tree.flatten())
    return hart


@pytest.mark.parametrize(("name", "value"), [("mmu-type", "riscv,none"), ("status", "disabled")])
def test_harts_that_are_not_for_us(boot_system: BootSystem, name: str, value: str) -> None:
    """A hart without an MMU, or one that is out of order, stays where it is."""

    def change(tree: Devicetree, hart: int) -> None:
        tree.node(f"/cpus/cpu@{(hart + 1) % 3}").set_string(name, value)

    system = boot_system(harts=3)
    left_out = (change_tree(system, change) + 1) % 3
    system.wait_for("stag$ ")
    assert system.variable("hart_count") == 2
    assert system.harts.mode(left_out) == 3, "it was started"


def test_reservation_block(boot_system: BootSystem) -> None:
    """What the tree reserves outside of its nodes is kept from the page allocator."""
    kept = [(0x84000000, MIB), (0x86000000, PAGE)]
    system = boot_system(harts=1)
    change_tree(system, lambda tree, _: tree.reservations.extend(kept))
    system.run_to_prompt()
    check_kept(system, *kept)


def test_parts_of_pages_are_reserved_whole(boot_system: BootSystem) -> None:
    """Two bytes on the border of two pages, and eight in the middle of one."""
    parts = [(0x84000FFF, 2), (0x86000800, 8)]
    system = boot_system(harts=1)
    change_tree(system, lambda tree, _: tree.reservations.extend(parts))
    system.run_to_prompt()
    check_kept(system, (0x84000000, 2 * PAGE), (0x86000000, PAGE))


def test_memory_beyond_the_linear_map(boot_system: BootSystem) -> None:
    """Of RAM on the border of its 128 GiB the kernel uses the part below, of RAM
    behind it nothing. The host gives only what is touched."""
    border = 0x80000000 + 128 * GIB
    backend = "memory-backend-ram,id=ram,size=130G,reserve=off"
    extra = ("-object", backend, "-machine", "memory-backend=ram")
    pieces = [(start, 64 * MIB) for start in (0x80000000, border - 32 * MIB, border + GIB)]
    system = boot_system(harts=2, memory="130G", extra=extra)
    change_tree(system, lambda tree, _: tree.set_memory(*pieces))
    system.run_to_prompt()
    assert f"RAM above {border:#x} is not used" in system.machine.serial.text
    assert system.command("hello").startswith("hello")
    check_kept(system, (border, GIB << 10))
    assert system.allocation().pages * PAGE > (64 + 32 - 4) * MIB


def test_harts_begin_where_the_boot_hart_did(boot_system: BootSystem) -> None:
    """In a1 there may be anything: OpenSBI 1.1 may send them there by mistake."""
    system = boot_system(harts=3)
    harts = {system.run_to_entry()}
    for _ in range(2):
        hart = system.harts.run(system.load_address).hart
        harts.add(hart)
        system.remote.set_register(hart, "a1", 0x82200000)
    assert harts == {0, 1, 2}
    system.run_to_prompt()
    assert system.command("hello").startswith("hello")


def test_programs_may_read_counters(boot_system: BootSystem) -> None:
    """On each hart, though here the firmware has left that to the kernel."""
    system = boot_system(harts=2)
    for _ in range(2):
        hart = system.harts.run(system.load_address).hart
        system.remote.set_register(hart, "scounteren", 0)
    system.run_to_prompt()
    assert [system.remote.register(hart, "scounteren") for hart in range(2)] == [7, 7]


@pytest.mark.parametrize("cut", [8, 100, 2000, 4000])
def test_truncated_tree(boot_system: BootSystem, cut: int) -> None:
    system = boot_system(harts=1)
    hart = system.run_to_entry()
    data = bytearray(system.read_devicetree(hart).flatten())
    data[len(data) - cut :] = bytes(cut)
    system.replace_devicetree(hart, bytes(data))
    text = system.harts.let_panic()
    assert text.count("\n") <= 1 or "stag$ " in text, f"neither a line nor a prompt:\n{text}"
