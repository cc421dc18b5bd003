"""What a cell can ask of its output frame; without a browser nothing is shown."""

from google.colab import _message

_callbacks: dict = {}


def eval_js(script, ignore_result=False, timeout_sec=None):
    """Evaluates the JavaScript in the context of the current cell."""
    reply = _message.blocking_request("eval_js", {"script": script}, timeout_sec)
    return None if ignore_result else reply


def register_callback(function_name, callback):
    """Registers a function as a target invokable by JavaScript."""
    _callbacks[function_name] = callback


def unregister_callback(function_name):
    """Forget a callback."""
    if function_name not in _callbacks:
        raise ValueError(f"Callback function not registered: {function_name}.")
    del _callbacks[function_name]


def clear(wait=False, output_tags=()):
    """Clears output containing the given tags."""


def no_vertical_scroll():
    """Disable vertical scroll on the output iframe."""


def enable_custom_widget_manager(version="5.0.0a"):
    """Enables a Jupyter widget manager which supports custom widgets."""
    if version != "5.0.0a":
        raise ValueError(f"Unknown widgets version: {version}")


def disable_custom_widget_manager():
    """Back to the page's own widgets."""


def serve_kernel_port_as_iframe(port, path="/", width="100%", height="400", cache_in_notebook=False):
    """Displays an iframe in the output to a port on the kernel."""


def serve_kernel_port_as_window(port, path="/", anchor_text=None, skip_warning=False):
    """Displays a link in the output to open a browser tab to a port on the kernel; deprecated."""
    if not skip_warning:
        print(
            "\x1b[31mWarning: This function may stop working due to changes in browser security.\n"
            "Try `serve_kernel_port_as_iframe` instead. \x1b[0m"
        )
