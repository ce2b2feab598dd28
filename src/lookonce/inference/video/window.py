"""A window that shows frames as they are made; it needs nothing but Python's own tkinter."""

from __future__ import annotations

from types import TracebackType

from PIL import Image

from lookonce.inference.video.frame import Pixels, VideoError

# Of the screen; the rest is for the window's frame and the system's bars.
_SHARE_OF_SCREEN = 0.85


class Window:
    """`with Window("title") as window: window.show(image)`; q, Esc or the close button set `closed`."""

    def __init__(self, title: str) -> None:
        """Open the window. Raises VideoError without a display or without tkinter."""
        try:
            import tkinter
        except ImportError as error:
            raise VideoError(
                "--show needs tkinter, which this Python lacks. On Debian and Ubuntu: "
                "sudo apt-get install python3-tk"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise VideoError(f"--show: no window can be opened ({error}); leave --show out") from error
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
        """Show uint8 RGB (h, w, 3), made smaller where the screen is; answers keys and buttons."""
        from PIL import ImageTk

        photo = Image.fromarray(image)
        width, height = self._root.winfo_screenwidth(), self._root.winfo_screenheight()
        photo.thumbnail((int(width * _SHARE_OF_SCREEN), int(height * _SHARE_OF_SCREEN)))
        # Tk forgets a photo that Python holds no longer.
        self._photo = ImageTk.PhotoImage(photo)
        self._label.configure(image=self._photo)
        self._root.update()

    def _close(self) -> None:
        self.closed = True
