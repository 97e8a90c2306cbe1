"""What every test of ``helpers`` gets: a scratch artifacts folder, and no mode or proxy from outside."""

import ctypes
import os
import signal
import sys

import pytest

# The servers of the tests are on this machine, and no proxy of the user's can reach them.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))

# A script's background process ignores Ctrl-C, and so would everything here that is to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


COMPUTING = "recipe batches history evaluation training processes muon interrupts runs model camera calibration onnx_export coreml coreml_operators bench"
"""The test files that compare sums of PyTorch's, which another processor may add in another order."""


LONG = (
    "address::test_an_address_is_written_everywhere_and_taken_away_without_a_trace",
    "bench::test_all_of_it_and_then_only_what_is_missing",
    "bench::test_a_training_takes_one_thread_and_a_turn_all",
    "book::test_a_notebook_can_be_downloaded_and_opened_in_colab",
    "book::test_a_page_says_what_it_is",
    "book::test_a_term_leads_to_its_row_in_the_glossary",
    "book::test_everybody_can_use_it_and_nothing_runs_off",
    "book::test_on_paper_there_is_the_text_alone_and_what_is_folded_is_open",
    "book::test_search_finds",
    "book::test_the_graph_is_alive_and_a_layer_answers",
    "book::test_the_reference_has_every_public_name_and_the_notebook_that_introduces_it",
    "book::test_the_switch_keeps_the_page_and_the_front_door_knows_the_readers_language",
    "book::test_the_whole_book_is_built_without_a_warning_and_every_link_leads_somewhere",
    "camera_network::test_the_camera_network_is_the_shipped_one_trained_further",
    "checkpoints::test_the_shipped_checkpoint_has_the_accuracy_on_its_card",
    "coreml_runtime::test_loading_prints_nothing",
    "coreml_runtime::test_torchvision_networks_give_the_probabilities_of_pytorch[squeezenet1_1",
    "data::test_drawings_are_as_many_as_promised",
    "doctor::test_a_chromium_that_is_not_where_it_is_said_to_be",
    "doctor::test_core_ml_tools_without_its_native_parts",
    *(
        f"exercises::test_the_start_is_not_attempted_the_solution_is_right_and_each_mistake_has_its_own_message[0{k}"
        for k in range(1, 7)
    ),
    "figures::test_in_grey_print_texts_can_be_read_and_lines_told_apart[threshold 0.7",
    "fuzz::test_every_whole_file_is_opened",
    "house::test_coremltools_is_imported_only_when_it_is_used[netron_view",
    "house::test_coremltools_is_imported_only_when_it_is_used[onnx",
    "lab::test_in_a_browser_the_table_of_contents_is_open_and_nothing_pops_up",
    "netron_browser::test_every_format_is_drawn[old",
    "netron_browser::test_an_untrusted_notebook_has_the_picture",
    "netron_browser::test_the_saved_notebook_shows_its_graph_in_jupyterlab[trusted",
    "netron_browser::test_the_saved_notebook_shows_its_graph_in_jupyterlab[untrusted-04",
    "netron_browser::test_the_weights_left_out_have_a_type_and_a_shape_and_no_numbers[program",
    "netron_view::test_a_small_file_cannot_ask_for_gigabytes_or_hours",
    "netron_view::test_the_output_for_alexnet_is_small[old",
    "netron_view::test_the_same_model_gives_the_same_bytes",
    "notebooks::test_the_repair_is_compared_with_the_network_that_it_was_trained_on_from",
    *(
        f"pages::test_axe_finds_nothing_serious_and_nothing_runs_off[{page}"
        for page in ("01", "02", "03", "04", "05", "06", "07", "glossary", "teaching", "troubleshooting")
    ),
    "phone::test_a_hundred_uploads_at_once_are_answered_with_bounded_memory",
    "phone::test_a_wrong_command_says_what_is_wrong_in_one_line",
    "phone::test_it_ends_with_its_kernel_as_in_make_run",
    "phone::test_it_ends_with_its_process_and_leaves_the_port_free[9]",
    "phone::test_phones_may_label_at_once",
    "phone::test_the_time_is_measured_with_the_networks_that_ship",
    "phone_browser::test_two_languages_light_and_dark_for_everybody[light",
    "run::test_interrupted_while_it_writes_it_ends_what_it_writes[write_page]",
    "run::test_measuring_one_notebook_keeps_what_the_others_measured",
    "run::test_saving_keeps_outputs_and_two_builds_are_the_same",
    "run::test_two_runs_at_once_both_end_well",
    *(f"slides::test_nothing_runs_over_and_nothing_foreign_is_asked_for[0{k}" for k in (1, 2, 3, 4, 5, 7)),
    "swift::test_a_change_for_the_worse_is_noticed[logic",
    "swift::test_an_app_as_it_is_written_compiles",
    "swift::test_the_app_compiles_for_a_phone_and_for_the_shop",
    "teaching::test_a_class_works_on_an_installation_that_it_cannot_change",
    "your_own_network::test_a_network_of_ones_own_walks_the_whole_road[SELU",
    "your_own_network::test_a_network_of_ones_own_walks_the_whole_road[view",
    "your_own_network::test_figures_of_any_number_of_classes_can_be_read[1",
    "your_own_network::test_figures_of_any_number_of_classes_can_be_read[30",
    "translation::test_a_notebook_runs_and_is_answered_in_its_language",
)
"""Tests that take long, and of which ``make test`` has a shorter one of the same kind, or a sample. ``make proof`` runs them."""


def pytest_collection_modifyitems(items):
    """Mark the tests of these files, and the long ones."""
    for item in items:
        name = item.path.stem.removeprefix("test_")
        if name in COMPUTING.split():
            item.add_marker("processor")
        if f"{name}::{item.name}".startswith(LONG):
            item.add_marker("long")


@pytest.fixture(autouse=True)
def scratch_artifacts(tmp_path, monkeypatch):
    """The artifacts folder of this test."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("CHAPTER_ARTIFACTS", str(folder))
    monkeypatch.delenv("CHAPTER_MODE", raising=False)
    return folder


@pytest.fixture
def ordinary_user():
    """Takes from an administrator, for this test, the right to pass over the permissions of files.

    It is the calling thread's right on Linux (``man 7 capabilities``): a set of bits that ``capset`` changes.
    """
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("no file is closed to an administrator here")
    system, version = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    assert system.capget(version, before) == 0
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert system.capset(version, less) == 0
    yield
    assert system.capset(version, before) == 0


@pytest.fixture(scope="session")
def drawings():
    """A small data set: 1,000 training and 500 test drawings."""
    from helpers.data import CIFAR10
    from helpers.drawings import make_drawings

    return CIFAR10(*make_drawings(train=1000, test=500), source="drawings")


@pytest.fixture(scope="session")
def sharp_model():
    """A small AlexNet whose batch norm has seen something and whose answers are far from uniform.

    Comparing near-uniform probabilities would prove nothing.
    """
    import torch

    from helpers.model import AlexNet

    torch.manual_seed(0)
    model = AlexNet(width=0.25).train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(64, 3, 32, 32) * torch.rand(64, 3, 1, 1))
        model.classifier[-1].weight *= 300
    return model.eval()


@pytest.fixture(scope="session")
def grey_model(tmp_path_factory):
    """A ``.mlpackage`` for five classes of grey pictures that are wider than high; their names are no plain words."""
    import torch

    from helpers import coreml
    from helpers.onnx_coreml import convert

    folder = tmp_path_factory.mktemp("grey")
    torch.manual_seed(0)
    layers = [torch.nn.AvgPool2d(8), torch.nn.Conv2d(1, 4, 1), torch.nn.Flatten(), torch.nn.Linear(60, 5)]
    network = torch.nn.Sequential(*layers, torch.nn.Softmax(1)).eval()
    network[3].weight.data *= 10  # else its answers to all pictures were alike
    names = {"input_names": ["image"], "output_names": ["p"], "dynamo": False}
    torch.onnx.export(network, (torch.rand(1, 1, 24, 40),), folder / "a.onnx", **names)
    converted = convert(
        folder / "a.onnx",
        mode="classifier",
        image_input_names=["image"],
        class_labels=["self", "T-shirt/top", 'say "cat"', "0: \\(nil)", "👩‍🚀"],
        preprocessing_args={"image_scale": 1 / 255},
        minimum_ios_deployment_target="15",
    )
    return coreml.save(converted, folder / "Grey.mlpackage")


@pytest.fixture(scope="module")
def browser():
    """Chromium, for the tests that look at pages; it reaches no network but this machine's."""
    from playwright import sync_api  # these two only where a test needs them

    from helpers.netron_view import pictures

    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=pictures.browser(), args=["--no-sandbox", "--no-proxy-server"]
        )
        yield started
        started.close()
