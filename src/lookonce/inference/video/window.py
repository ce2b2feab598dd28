"""A window that shows frames, based on tkinter."""

from __future__ import annotations

from types import TracebackType

from PIL import Image

from lookonce.inference.video.frame import Pixels, VideoError

# The rest of the screen is for window decorations and system bars.
_SHARE_OF_SCREEN = 0.85


class Window:
    """A window: `with Window("title") as window: window.show(image)`; q, Esc and closing it set `closed`."""

    def __init__(self, title: str) -> None:
        """Open the window. Raises VideoError without a display or tkinter."""
        try:
            import tkinter
        except ImportError as error:
            raise VideoError(
                "showing video requires tkinter, which this Python lacks. On Debian and Ubuntu: "
                "sudo apt-get install python3-tk"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise VideoError(f"cannot open a window to show video in ({error}); run without it") from error
        self.closed = False
        self._root.title(title)
        self._root.resizable(False, False)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _event: self._close())
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._root.destroy()

    def show(self, image: Pixels) -> None:
        """Show a uint8 RGB image (h, w, 3), shrunk to fit the screen; process key and button events."""
        from PIL import ImageTk

        photo = Image.fromarray(image)
        width, height = self._root.winfo_screenwidth(), self._root.winfo_screenheight()
        photo.thumbnail((int(width * _SHARE_OF_SCREEN), int(height * _SHARE_OF_SCREEN)))
        # Tk drops a photo that Python no longer references.
        self._photo = ImageTk.PhotoImage(photo)
        self._label.configure(image=self._photo)
        self._root.update()

    def _close(self) -> None:
        self.closed = True
