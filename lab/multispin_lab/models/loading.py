"""Loading of a model by its engine.

transformers runs folders, names on the hub and GGUF files, with torch; llama.cpp runs GGUF files (extra ``llama``).
"""

from importlib.util import find_spec
from pathlib import Path

from multispin_env.checks import check_integer, check_name
from multispin_lab.models import DTYPES, ENGINES
from multispin_lab.models.engine import Model


def load_model(
    name: str,
    device: str = "cpu",
    dtype: str = "float32",
    bits: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
) -> Model:
    """Load a model for inference from a ``transformers`` folder, a ``.gguf`` file, or a name on the hub.

    The engine is llama.cpp for ``.gguf`` files if it is installed, else transformers, which takes a ``device`` and
    ``dtype`` of torch and rounds weights to ``bits``, 2 to 8, unless ``None``. ``threads`` are those of a processor,
    by default all. ``ValueError`` for a name without a model, an unknown device or dtype, options that the engine does
    not have, or a model whose cache can't be trimmed.
    """
    check_name("dtype", dtype, DTYPES)
    if bits is not None:
        check_integer("bits", bits, 2, 8)
    if threads is not None:
        check_integer("threads", threads, 1)
    is_gguf = Path(name).suffix.lower() == ".gguf"
    if is_gguf and not Path(name).is_file():
        raise ValueError(f"model: expected a GGUF file, got {name!r}, which does not exist")
    if engine is None:
        engine = "llama.cpp" if is_gguf and find_spec("llama_cpp") else "transformers"
    check_name("engine", engine, ENGINES)
    if engine == "transformers":
        from multispin_lab.models.transformers_engine import load

        return load(name, device, dtype, bits, threads)
    if not is_gguf:
        raise ValueError(f"model: expected a .gguf file for llama.cpp, got {name!r}")
    for field, value, default in (("device", device, "cpu"), ("dtype", dtype, DTYPES[0]), ("bits", bits, None)):
        if value != default:
            raise ValueError(f"{field}: expected {default!r} for llama.cpp, got {value!r}; transformers has it")
    from multispin_lab.models import llama_engine

    return llama_engine.load(name, threads)
