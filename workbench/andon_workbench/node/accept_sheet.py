"""The acceptance record as one page for the folder in the cabinet: PDF, A4."""

from __future__ import annotations

import io
import unicodedata
from typing import TYPE_CHECKING, Any, Final

import segno
from fpdf import FPDF
from fpdf.enums import XPos, YPos

from andon_workbench.node.accept_record import SignedRecord, key_fingerprint
from andon_workbench.node.errors import NodeError

if TYPE_CHECKING:
    from pathlib import Path

_MARGIN: Final = 18.0
_WIDTH: Final = 210.0 - 2 * _MARGIN
_FOOT_MM: Final = 58.0
_ROW_MM: Final = 6.0
_LEAST_ROW_MM: Final = 4.0
_QR_MM: Final = 34.0
_LABEL_MM: Final = 34.0
_NAME_MM: Final = 34.0
_OUTCOME_MM: Final = 20.0
_GREEN: Final = (22, 101, 52)
_RED: Final = (153, 27, 27)
_AMBER: Final = (146, 64, 14)
_GREY: Final = (100, 100, 100)
_BLACK: Final = (0, 0, 0)
_COLOURS: Final = {"passed": _GREEN, "remark": _AMBER, "failed": _RED, "skipped": _GREY}
# Letters with a stroke have no base letter in Unicode.
_STROKES: Final = str.maketrans("ŁłĐđĦħı", "LlDdHhi")


def qr_text(signed: SignedRecord) -> str:
    """What the QR code says: enough to find the record and to see whether a file is it."""
    record = signed.document
    verdict = "accepted" if record["accepted"] else "rejected"
    return (
        f"andon-acceptance:{record['node']};{record['date']};{verdict};sha256={signed.digest};key={signed.fingerprint}"
    )


def write(signed: SignedRecord, path: Path) -> None:
    """Write the sheet.

    Raises:
        NodeError: the file cannot be written.
    """
    sheet = _Sheet(signed)
    try:
        path.write_bytes(sheet.render())
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error


class _Sheet:
    def __init__(self, signed: SignedRecord) -> None:
        self._signed = signed
        self._record = signed.document
        self._pdf = FPDF(format="A4")
        self._pdf.set_title(f"Acceptance of {self._record['node']}")
        self._pdf.set_creator("andon node accept")
        self._pdf.set_auto_page_break(auto=False)
        self._pdf.set_margins(_MARGIN, _MARGIN, _MARGIN)
        self._pdf.add_page()

    def render(self) -> bytes:
        self._head()
        self._identity()
        self._steps()
        self._foot()
        return bytes(self._pdf.output())

    def _head(self) -> None:
        pdf = self._pdf
        pdf.set_font("Helvetica", "B", 18)
        pdf.cell(_WIDTH - 52, 10, _shown("Node acceptance record"))
        accepted = bool(self._record["accepted"])
        pdf.set_fill_color(*(_GREEN if accepted else _RED))
        pdf.set_text_color(255, 255, 255)
        pdf.set_font("Helvetica", "B", 14)
        words = "ACCEPTED" if accepted else "NOT ACCEPTED"
        pdf.cell(52, 10, words, align="C", fill=True, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        pdf.set_text_color(*_BLACK)
        pdf.ln(4)

    def _identity(self) -> None:
        record = self._record
        rows = (
            ("Node", record["node"]),
            ("Board", record["board"]),
            ("Board id", record["unique_id"]),
            ("MicroPython", record["micropython"]),
            ("Firmware", f"{record['firmware_files']} files, SHA-256 {record['firmware_sha256']}"),
            ("Configuration", f"SHA-256 {record['config_sha256']} (without Wi-Fi)"),
            ("Keys", f"fingerprint {record['keys_fingerprint']}"),
            ("Tested", f"{record['date']} (UTC), answers by {record['answered_by']}"),
            ("Inspector", record["inspector"]),
        )
        for label, value in rows:
            self._row(5.4, ((label, _LABEL_MM, "B", _BLACK), (str(value), _WIDTH - _LABEL_MM, "", _BLACK)))
        self._pdf.ln(4)

    def _steps(self) -> None:
        pdf = self._pdf
        steps: list[dict[str, Any]] = self._record["steps"]
        room = pdf.h - _MARGIN - _FOOT_MM - pdf.get_y() - _ROW_MM
        fitting = int(room / _LEAST_ROW_MM)
        left_out = 0
        if len(steps) > fitting:
            # What failed must be on the page.
            order = sorted(range(len(steps)), key=lambda at: (steps[at]["outcome"] != "failed", at))[: fitting - 1]
            left_out = len(steps) - len(order)
            steps = [steps[at] for at in sorted(order)]
        height = min(_ROW_MM, room / max(1, len(steps) + bool(left_out)))
        widths = (_NAME_MM, _OUTCOME_MM, _WIDTH - _NAME_MM - _OUTCOME_MM)
        heads = ("Test", "Outcome", "Found")
        pdf.set_fill_color(235, 235, 235)
        self._row(
            _ROW_MM,
            tuple((text, width, "B", _BLACK) for text, width in zip(heads, widths, strict=True)),
            fill=True,
        )
        for step in steps:
            outcome = str(step["outcome"])
            self._row(
                height,
                (
                    (str(step["name"]), widths[0], "", _BLACK),
                    (outcome, widths[1], "B", _COLOURS.get(outcome, _BLACK)),
                    (str(step["found"]), widths[2], "", _BLACK),
                ),
                line=True,
            )
        if left_out:
            self._row(height, ((f"{left_out} more stand in the JSON record; none of them failed", _WIDTH, "I", _GREY),))

    def _foot(self) -> None:
        pdf = self._pdf
        top = pdf.h - _MARGIN - _FOOT_MM + 6
        pdf.image(io.BytesIO(_qr(qr_text(self._signed))), x=210 - _MARGIN - _QR_MM, y=top, w=_QR_MM, h=_QR_MM)
        pdf.set_y(top)
        width = _WIDTH - _QR_MM - 6
        rows = (
            ("Signature", f"Ed25519, key {key_fingerprint(self._signed.public_key)}"),
            ("Key", self._signed.public_key),
            ("Record", f"SHA-256 {self._signed.digest}"),
            ("", "Check the file: andon node accept --verify FILE --public-key KEY"),
        )
        for label, value in rows:
            self._row(5.4, ((label, 20, "B", _BLACK), (value, width - 20, "", _BLACK)))
        pdf.set_y(pdf.h - _MARGIN - 9)
        pdf.set_draw_color(*_GREY)
        half = (width - 8) / 2
        for at, words in ((_MARGIN, "Place, date"), (_MARGIN + half + 8, "Inspector's signature")):
            y = pdf.get_y()
            pdf.line(at, y, at + half, y)
            pdf.set_xy(at, y + 0.5)
            pdf.set_font("Helvetica", "", 8)
            pdf.cell(half, 4, words)
            pdf.set_xy(_MARGIN, y)
        pdf.set_xy(_MARGIN, pdf.h - _MARGIN - 1)
        pdf.set_font("Helvetica", "", 7.5)
        pdf.set_text_color(*_GREY)
        note = "A functional test of the node. It proves no safety function and replaces no verification of the electrical installation (IEC 60364-6)."
        pdf.cell(_WIDTH, 4, note)

    def _row(
        self,
        height: float,
        cells: tuple[tuple[str, float, str, tuple[int, int, int]], ...],
        *,
        fill: bool = False,
        line: bool = False,
    ) -> None:
        pdf = self._pdf
        if line:
            pdf.set_draw_color(215, 215, 215)
            pdf.line(_MARGIN, pdf.get_y() + height, _MARGIN + _WIDTH, pdf.get_y() + height)
        for text, width, style, colour in cells:
            shown = _shown(text)
            size = min(9.0, height * 1.7)
            pdf.set_font("Helvetica", style, size)
            # Smaller before shorter: a hash must stay whole.
            while pdf.get_string_width(shown) > width - 2 and size > 6:  # noqa: PLR2004  points, the least that can be read
                size -= 0.25
                pdf.set_font("Helvetica", style, size)
            while pdf.get_string_width(shown) > width - 2:
                shown = shown[:-4] + "..."
            pdf.set_text_color(*colour)
            pdf.cell(width, height, shown, fill=fill)
        pdf.set_text_color(*_BLACK)
        pdf.ln(height)


def _qr(text: str) -> bytes:
    drawing = io.BytesIO()
    segno.make(text, error="m", micro=False).save(drawing, kind="png", scale=6, border=0)
    return drawing.getvalue()


def _shown(text: str) -> str:
    """The text in the letters that a PDF's own fonts have (Latin-1); the JSON record has it as it is."""
    plain = unicodedata.normalize("NFKC", text).translate(_STROKES)
    letters = []
    for letter in plain:
        if letter.encode("latin-1", "ignore"):
            letters.append(letter)
            continue
        bare = unicodedata.normalize("NFKD", letter).encode("latin-1", "ignore").decode("latin-1")
        letters.append(bare or "?")
    return "".join(letters)
