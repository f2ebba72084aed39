"""Networks on one fixed thread: with another number of threads the same weights give other bytes."""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from deemo_dist.deid.light import lit
from deemo_dist.weights import fetch

THREADS = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE = 3 * 2**18  # values of an input
SAME_AS_REQUESTED = 1  # onnxruntime: how an arena grows


def give_memory_back() -> None:
    """Have glibc map large blocks one by one, so that a freed frame goes back to the system at once: left alone, it
    raises that size as it goes and keeps hundreds of megabytes of them. Another allocator is left as it is."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**21)
        libc.mallopt(M_TRIM_THRESHOLD, 2**24)


def trim() -> None:
    """Give back what lies free between blocks in use: loading a model, or one stage of a clip, leaves some tens of
    megabytes of it, which the next one does not always find."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


class Network:
    """A network that is loaded when it is made, can be put away, and loads itself again (some 50 ms) when it is used:
    ``_load`` makes what runs it."""

    _everyone: ClassVar["WeakSet[Network]"] = WeakSet()

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._loaded: Any = load()
        self._everyone.add(self)

    @property
    def _running(self) -> Any:
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    @classmethod
    def put_away(cls) -> None:
        """Let go of all that is loaded in this process: 120 MB, if the networks of a clip are."""
        for network in cls._everyone:
            network._loaded = None


class TfLite(Network):
    """A .tflite network on one thread. ``__call__``: float32 image [H, W, 3] -> output arrays by tensor name.

    ``outputs``: the tensors wanted (none named: all). What leads to no wanted tensor is taken out of the graph; the
    others come out bit for bit the same (BlazePose without its segmentation: a third less time).
    """

    def __init__(self, path: Path, outputs: tuple[str, ...] = ()) -> None:
        super().__init__(lambda: _interpreter(path, outputs))
        self._input = self._running[0].get_input_details()[0]["index"]
        self._outputs = {item["name"]: item["index"] for item in self._running[0].get_output_details()}

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the network on one image."""
        interpreter = self._running[0]
        interpreter.set_tensor(self._input, np.ascontiguousarray(image[None], dtype=np.float32))
        interpreter.invoke()
        return {name: interpreter.get_tensor(index)[0] for name, index in self._outputs.items()}


def _interpreter(path: Path, outputs: tuple[str, ...]) -> tuple[Any, bytes]:
    """An interpreter, and the content that it does not copy."""
    from ai_edge_litert.interpreter import Interpreter

    content = path.read_bytes()
    content = pruned(content, outputs) if outputs else content
    made = Interpreter(model_content=content, num_threads=THREADS)
    made.allocate_tensors()
    return made, content


class Onnx(Network):
    """An onnx network on one thread. ``__call__``: float32 [1, 3, H, W] -> its outputs, the first ``outputs`` of them
    where a number is given; what a large input took is given back to the system."""

    def __init__(self, path: Path, outputs: int | None = None) -> None:
        super().__init__(lambda: onnx_session(path, outputs))

    def __call__(self, blob: np.ndarray) -> list[np.ndarray]:
        """Run the network on one input."""
        session = self._running
        options = give_back() if blob.size > LARGE else None
        return list(session.run(None, {session.get_inputs()[0].name: blob}, options))


def give_back() -> Any:
    """Options of a run after which the shared arena gives back to the system what the run took."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def pruned(content: bytes, outputs: tuple[str, ...]) -> bytes:
    """A .tflite model with only the operators that ``outputs`` (names of output tensors) need."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    graph.outputs = [index for index in graph.outputs if graph.tensors[index].name.decode() in outputs]
    needed = {int(index) for index in graph.outputs}
    operators = []
    for operator in reversed(graph.operators):
        if needed & {int(index) for index in operator.outputs}:
            operators.append(operator)
            needed |= {int(index) for index in operator.inputs}
    graph.operators = operators[::-1]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@lru_cache(maxsize=1)
def _share_arena() -> None:
    """One arena for all sessions, which grows by what is asked of it: each having its own, in powers of two, takes
    twice as much."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(0, SAME_AS_REQUESTED, -1, -1))


def onnx_session(path: Path, outputs: int | None = None) -> Any:
    """An onnxruntime session on one thread for CenterFace's graph, whose dummy input shape is made dynamic. What leads
    to none of the first ``outputs`` is left out by onnxruntime; the others come out bit for bit the same."""
    import onnx

    graph_model = onnx.load(str(path))
    _free_shapes(graph_model.graph)
    if outputs is not None:
        del graph_model.graph.output[outputs:]
    return plain_session(graph_model.SerializeToString())


def plain_session(model: Path | bytes) -> Any:
    """An onnxruntime session on one thread, over the arena of all, for a model as it is: its file or its bytes."""
    import onnxruntime

    _share_arena()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = THREADS
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # sizes vary: a plan for each costs half as much memory again, and no time less
    given = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def _free_shapes(graph: Any) -> None:
    """Drop the initialisers from the inputs, and name batch, height and width instead of the exported 10x3x32x32."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    for value in (*graph.input, *graph.output):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            dimension = value.type.tensor_type.shape.dim[axis]
            dimension.Clear()
            dimension.dim_param = f"{value.name}_{name}"


@lru_cache(maxsize=8)
def tflite(name: str, outputs: tuple[str, ...] = ()) -> TfLite:
    """The network ``name`` of the weights registry, one in a process; see :class:`TfLite`."""
    return TfLite(fetch(name), outputs)


@lru_cache(maxsize=2)
def onnx(name: str, outputs: int | None = None) -> Onnx:
    """The onnx network ``name`` of the weights registry, one in a process; see :class:`Onnx`."""
    return Onnx(fetch(name), outputs)


def letterbox(frame: np.ndarray, side: int) -> tuple[np.ndarray, float, float, float]:
    """Fit a uint8 frame [H, W, 3] into a black square, its dark parts brightened: (uint8 [side, side, 3], scale, left,
    top), so that x in the square = x in the frame * scale + left."""
    import cv2

    height, width = frame.shape[:2]
    scale = side / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - new_width) // 2, (side - new_height) // 2
    square = np.zeros((side, side, 3), dtype=np.uint8)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = lit(cv2.resize(frame, (new_width, new_height), interpolation=interpolation))
    square[top : top + new_height, left : left + new_width] = fitted
    return square, scale, float(left), float(top)


def ssd_anchors(side: int, strides: tuple[int, ...]) -> np.ndarray:
    """Anchor centres of MediaPipe's SSD heads (two a cell and layer, equal strides merged): [N, 2] in 0..1."""
    centres = []
    for stride in sorted(set(strides)):
        cells = side // stride
        grid = (np.arange(cells) + 0.5) / cells
        cell = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(cell, 2 * strides.count(stride), axis=0))
    return np.concatenate(centres)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Logistic function, clipped as MediaPipe clips raw scores."""
    return 1.0 / (1.0 + np.exp(-np.clip(values.astype(np.float64), -100.0, 100.0)))
