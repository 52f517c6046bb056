"""Slips of the pen in what only a GPU runs: at least one in each place of "Not yet run on hardware" in measuring.md.

Made one by one by docs/evidence/slips.py: name, file, text that is there once, what it becomes, tests of which one must
fail. No GPU is needed: the tests have fakes that are held to PyTorch's and NVML's own signatures.
"""

from __future__ import annotations

METERS, MEASURE = "trainmark/meters", "trainmark/measure"
ON_CUDA, IN_METERS, IN_COUNTS = (
    "tests/measure/test_on_cuda.py",
    "tests/meters/test_meters.py",
    "tests/meters/test_counts.py",
)
IN_NVML, IN_ENERGY, IN_PHASES = (
    "tests/meters/test_nvml.py",
    "tests/meters/test_energy.py",
    "tests/measure/test_phases.py",
)
IN_PROFILER, IN_PROBES, IN_TURNS = (
    "tests/meters/test_profiler.py",
    "tests/meters/test_probes.py",
    "tests/against/test_turns.py",
)
IN_COMPILING, IN_ENVIRONMENT = "tests/measure/test_compiling.py", "tests/measure/test_environment.py"
IN_CAPACITY, IN_WORKER, IN_PLANNING = (
    *(
        "tests/measure/test_capacity.py",
        "tests/measure/test_worker.py::test_a_lack_of_memory_is_known_by_its_type_or_its_words",
    ),
    "tests/workloads/test_planning.py",
)

GPU_SLIPS = (
    # The clock
    ("events in microseconds", f"{METERS}/clock.py", "end) / 1e3, host", "end) / 1e6, host", IN_METERS),
    (
        "an accelerator that nobody waits for",
        f"{METERS}/clock.py",
        "    work()\n    torch.accelerator.synchronize()\n",
        "    work()\n",
        IN_METERS,
    ),
    ("the host's clock on a GPU", f"{METERS}/clock.py", '"cuda": event_clock', '"cuda": host_clock', IN_METERS),
    (
        "clocks that always agree",
        f"{MEASURE}/protocol.py",
        "/ median(rounds) - 1) > CLOCKS_AGREE",
        "/ median(rounds) - 1) > 1",
        "tests/measure/test_protocol.py",
    ),
    # Phases
    ("phases in microseconds", f"{MEASURE}/phases.py", "end) / 1e3 if", "end) / 1e6 if", IN_PHASES),
    ("a span within another that counts twice", f"{MEASURE}/phases.py", "end) - sum(", "end) - 0 * sum(", IN_PHASES),
    # Memory
    (
        "reserved told as allocated",
        f"{METERS}/memory.py",
        "DeviceMemory(torch.accelerator.max_memory_allocated(),",
        "DeviceMemory(torch.accelerator.max_memory_reserved(),",
        ON_CUDA,
    ),
    (
        "a peak that is never forgotten",
        f"{METERS}/memory.py",
        "        torch.accelerator.reset_peak_memory_stats()\n",
        "",
        ON_CUDA,
    ),
    (
        "the compiler's memory as a step's",
        f"{MEASURE}/protocol.py",
        "            reset_device_peak(device)  # what",
        "            pass  # what",
        ON_CUDA,
    ),
    (
        "a workspace with the data in it",
        f"{MEASURE}/instruments.py",
        "allocated - steps.feed.resident_bytes - sum",
        "allocated - sum",
        IN_COUNTS,
    ),
    # The timeline
    (
        "memory that is free when that is asked for",
        f"{METERS}/timeline.py",
        '"free_completed": -1',
        '"free_requested": -1',
        "tests/meters/test_timeline.py",
    ),
    (
        "a recorder that is left on",
        f"{METERS}/timeline.py",
        "        torch.cuda.memory._record_memory_history(None)\n",
        "        pass\n",
        "tests/meters/test_timeline.py",
    ),
    # Counts
    ("no launches of Triton's", f"{METERS}/counts.py", '"cuLaunchKernel", ', "", IN_COUNTS),
    ("nothing seen as no launches", f"{METERS}/counts.py", "    if not kernels:\n", "    if kernels < 0:\n", IN_COUNTS),
    (
        "work side by side that counts twice",
        f"{METERS}/counts.py",
        "end - max(begin, reached))",
        "end - begin)",
        IN_COUNTS,
    ),
    (
        "a copy off the device that nobody waits for",
        f"{METERS}/counts.py",
        "self._device != made[0].device.type",
        "self._device == made[0].device.type",
        IN_COUNTS,
    ),
    ("skipped graphs under another name", f"{METERS}/counts.py", '.get("cudagraph_skips"', '.get("skips"', IN_COUNTS),
    (
        "a busy share of another step",
        f"{MEASURE}/instruments.py",
        "launches.busy_seconds / step_seconds)",
        "launches.busy_seconds)",
        IN_COUNTS,
    ),
    # NVML
    ("the first GPU for the current one", f"{METERS}/nvml.py", "torch.cuda.current_device() if", "0 if", IN_NVML),
    (
        "an instance with the power of its whole GPU",
        f"{METERS}/nvml.py",
        "if self._part is not self._board:",
        "if self._part is None:",
        IN_NVML,
    ),
    ("our own memory as another's", f"{METERS}/nvml.py", "if process.pid != os.getpid()]", "]", IN_NVML),
    ("idle as held back", f"{METERS}/nvml.py", "SETTINGS = 0x001 | 0x002", "SETTINGS = 0x002", IN_NVML),
    (
        "one look at a power cap as throttling",
        f"{METERS}/disturbance.py",
        "int(bool(seen - {PASSING}) or always)",
        "int(bool(seen))",
        IN_METERS,
    ),
    (
        "looks that go before the counted time",
        f"{METERS}/disturbance.py",
        "_throttled(before, after) if held_back is None else",
        "_throttled(before, after) if held_back is not None else",
        IN_METERS,
    ),
    (
        "a pair that keeps a throttled half",
        "trainmark/against/turns.py",
        '"thermal_events", "gpu_throttled")',
        '"thermal_events")',
        IN_TURNS,
    ),
    # Energy
    (
        "a counter read before the work is done",
        f"{METERS}/energy.py",
        "        _synchronise(self._device)\n",
        "",
        IN_ENERGY,
    ),
    (
        "energy after the profiler",
        f"{MEASURE}/protocol.py",
        "    if settings.energy:\n",
        "    if steps.model is not None:\n        count_launches(steps, device, step_seconds, settings.seed)\n"
        "    if settings.energy:\n",
        ON_CUDA,
    ),
    # Peaks
    (
        "a CPU's probes on a GPU",
        f"{METERS}/probes.py",
        'CPU_SIZES if device == "cpu" else GPU_SIZES',
        "CPU_SIZES",
        IN_PROBES,
    ),
    # The profiler
    (
        "kernels as operators",
        f"{METERS}/profiler.py",
        'device_type.name) != "CPU"',
        'device_type.name) == ""',
        IN_PROFILER,
    ),
    ("a device that is not watched", f"{METERS}/profiler.py", '{"cuda": ProfilerActivity.CUDA, ', "{", IN_PROFILER),
    # Precisions
    (
        "tf32 in fp32's convolutions",
        f"{MEASURE}/precision.py",
        "cudnn.allow_tf32 = allowed",
        "cudnn.allow_tf32 = True",
        "tests/measure/test_training.py::test_tensorfloat_32_is_allowed_for_tf32_alone_in_products_and_in_convolutions",
    ),
    (
        "one skipped step as a training",
        f"{MEASURE}/compiling.py",
        "while taken <= MOST_SKIPPED and not any",
        "while taken <= 0 and not any",
        IN_COMPILING,
    ),
    # Compiled steps
    (
        "every mode is the default",
        f"{MEASURE}/steps.py",
        "torch.compile(model, mode=mode)",
        "torch.compile(model)",
        IN_COMPILING,
    ),
    (
        "graphs that take no time to capture",
        f"{MEASURE}/compiling.py",
        "return 2 if captures",
        "return 1 if captures",
        ON_CUDA,
    ),
    ("libraries that compiling has to load", f"{MEASURE}/protocol.py", "        wake_libraries(device)\n", "", ON_CUDA),
    (
        "outputs that the next replay overwrites",
        f"{MEASURE}/compiling.py",
        "tree_map_only(torch.Tensor, torch.clone, forward(inputs, targets))",
        "forward(inputs, targets)",
        "tests/measure/test_graphs.py::test_outputs_outlast_the_next_call_whatever_holds_them",
    ),
    # Batches
    (
        "a copy that the host waits for",
        f"{MEASURE}/batches.py",
        "        return tensor.to(device, non_blocking=pinned)\n",
        "        return tensor.to(device)\n",
        "tests/measure/test_batches.py",
    ),
    # cuDNN's trials
    (
        "convolutions that are never tried out",
        f"{MEASURE}/steps.py",
        'cudnn.benchmark = cell["cudnn_benchmark"] == "on"',
        "cudnn.benchmark = False",
        "tests/measure/test_optimizing.py",
    ),
    # Out of memory
    ("cuDNN's want of memory as an error", f"{MEASURE}/worker.py", '"DEVICE_ALLOCATION_FAILED"),', "),", IN_WORKER),
    (
        "a bound that nobody is told of",
        "trainmark/workloads/capacity.py",
        "flags = () if bound is None else (BOUNDED,)",
        "flags = ()",
        IN_CAPACITY,
    ),
    (
        "a record lost to its pair",
        "trainmark/against/turns.py",
        'failure.status != "oom":',
        'failure.status == "oom":',
        IN_TURNS,
    ),
    # The machine
    (
        "a fingerprint of the scheduler's index",
        f"{MEASURE}/environment.py",
        " and not WHICH_GPU.fullmatch(name)",
        "",
        IN_ENVIRONMENT,
    ),
    (
        "bf16 on every GPU",
        f"{MEASURE}/environment.py",
        "capability >= (8, 0) or",
        "capability >= (7, 0) or",
        IN_ENVIRONMENT,
    ),
    (
        "headers that nobody looks for",
        f"{MEASURE}/environment.py",
        '(_python_headers() / "Python.h").exists()',
        "_python_headers()",
        IN_ENVIRONMENT,
    ),
    (
        "an estimate that knows no GPU",
        "trainmark/workloads/stepping.py",
        'START_SECONDS.get(str(cell["device"]), OTHER_START_SECONDS)',
        "0.0",
        IN_PLANNING,
    ),
    # What a GPU makes of comparisons, counts and words
    ("energy in each record of a pair", "trainmark/against/turns.py", ", energy=False)", ")", IN_TURNS),
    (
        "records that leave nothing for pairs",
        "trainmark/against/run.py",
        "            if left < kept:\n",
        "            if left < 0:\n",
        "tests/against/test_run.py",
    ),
    (
        "scores of a GPU that a CPU has computed",
        "bench/ngram/choices.py",
        'if scores and values["device"] != "cpu":',
        "if False:",
        "tests/suite/test_ngram_grid.py",
    ),
    (
        "an estimate of a GPU that a CPU has made",
        "bench/ngram/measuring.py",
        'if device != "cpu" and "estimate" in stages:',
        "if False:",
        "tests/suite/test_ngram_measuring.py",
    ),
    (
        "a launch-bound step that nobody calls so",
        "trainmark/advise/waiting.py",
        "busy is not None and busy < LAUNCH_BOUND",
        "busy is not None and busy < 0",
        "tests/advise/test_waiting.py",
    ),
    (
        "an eager model beside the compiled one",
        f"{MEASURE}/protocol.py",
        'if cell.settings.get("compile", "off") == "off":\n        work',
        "if True:\n        work",
        ON_CUDA,
    ),
    (
        "counts of a compiled step that nobody asks for",
        "trainmark/workloads/stepping.py",
        "record = record if settings.once else _with_counts(record, settings, context)",
        "pass",
        "tests/workloads/test_compiled_cells.py",
    ),
    (
        "a GPU that is asked for before the fork",
        f"{MEASURE}/preload.py",
        "import torch._dynamo  # noqa: F401",
        "import torch._dynamo; torch.cuda.is_available()  # noqa: F401",
        "tests/measure/test_preload.py::test_what_is_forked_has_not_asked_for_a_gpu",
    ),
)
