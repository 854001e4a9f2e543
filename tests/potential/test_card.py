import dataclasses
import json

import pytest
from builders import random_model
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.errors import ConfigError
from ase_deeppot.potential.archive import from_bytes, to_bytes
from ase_deeppot.potential.card import FORMAT_VERSION, Domain, ModelCard, describe, from_record, pair_name, to_json
from ase_deeppot.potential.config import FittingNetConfig, ModelConfig, SmoothConfig

widths = st.lists(st.integers(1, 300), min_size=1, max_size=4).map(tuple)
configs = st.builds(
    ModelConfig, st.lists(st.sampled_from(["H", "O", "Cu", "Si"]), unique=True).map(tuple), st.floats(1.0, 12.0),
    st.sampled_from(["float64", "float32"]),
    st.builds(SmoothConfig, rcut_smth=st.floats(0.0, 0.9), neuron=widths, axis_neuron=st.just(1),
              type_one_side=st.booleans(), activation=st.sampled_from(["tanh", "silu"]), resnet_dt=st.booleans()),
    st.builds(FittingNetConfig, neuron=st.lists(st.integers(1, 300), max_size=3).map(tuple)))
domains = st.builds(
    Domain, st.integers(0, 10**6), st.tuples(st.integers(0, 9), st.integers(0, 999)),
    st.dictionaries(st.sampled_from(["H-O", "O-O"]), st.floats(0.1, 5.0)),
    energy_per_atom=st.tuples(st.floats(-1e6, 0.0), st.floats(-1e6, 0.0)), largest_force=st.floats(0.0, 100.0))


series = st.fixed_dictionaries({"order": st.integers(2, 99), "terms": st.integers(4, 99), "reach": st.floats(0.1, 2.0),
                                "directions": st.lists(st.integers(1, 99)), "error": st.floats(0.0, 1.0)})


@given(config=configs, domain=domains, steps=st.integers(0, 10**9), series=series)
def test_round_trip(config, domain, steps, series):
    card = ModelCard(config, domain, {"steps": steps, "sources": ["a.db@x=1"]}, "1.2.3", series=series)
    assert from_record(json.loads(to_json(card))) == card


def test_equal_cards_have_equal_text():
    first = ModelCard(ModelConfig(("H",)), training={"a": 1, "b": 2})
    second = dataclasses.replace(first, training={"b": 2, "a": 1})
    assert to_json(first) == to_json(second)


def test_text_states_format_version_and_units():
    record = json.loads(to_json(ModelCard(ModelConfig(("H",)))))
    assert record["format"] == "ase_deeppot model"
    assert record["format_version"] == FORMAT_VERSION
    assert record["units"]["energy"] == "eV"
    assert record["units"]["length"] == "Angstrom"


def test_description_says_what_the_series_is():
    card = ModelCard(ModelConfig(("H", "O")))
    assert "series          not written yet" in describe(card).splitlines()
    series = {"order": 32, "terms": 28, "directions": [36, 40], "reach": 0.7651, "error": 2.34e-5}
    line = ("series          28 of 32 terms, 36, 40 directions, pairs down to 0.77 A; differs from the embedding net "
            "by 2e-05 of its range")
    assert line in describe(dataclasses.replace(card, series=series)).splitlines()


@pytest.mark.parametrize(("options", "text"), [({"fitting_neuron": (7, 7)}, "7-7, float64"),
                                               ({"fitting_neuron": (9,), "polynomial": (3, 4)},
                                                "cubic polynomials, 10, 6 terms of 9 directions, float64")])
def test_description_says_what_the_fitting_net_is(options, text):
    assert f"fitting net     {text}" in describe(random_model(**options).card).splitlines()


def test_cards_do_not_share_their_tables():
    one, other = ModelCard(ModelConfig(("H",))), ModelCard(ModelConfig(("H",)))
    one.units["energy"] = "Hartree"
    assert other.units["energy"] == "eV"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(number):
    with pytest.raises(ValueError, match="Out of range float"):
        to_json(ModelCard(ModelConfig(("H",)), training={"rmse": number}))


def test_a_card_without_configuration_is_refused():
    with pytest.raises(ConfigError, match="expected option 'config' in \\[model card\\], got none"):
        from_record({})


def test_pair_names_have_no_order():
    assert pair_name("O", "H") == pair_name("H", "O") == "H-O"


@pytest.mark.parametrize(("change", "message"), [
    ({"type_map": ("H", "Xx")}, "expected chemical symbols in type_map, or names like C\\(CHH\\), got \\['Xx'\\]"),
    ({"type_map": ("H", "H")}, "each species once"),
    ({"descriptor": SmoothConfig(order=1)}, "expected descriptor.order >= 2, got 1"),
    ({"rcut": 0.4}, "expected 0 <= rcut_smth < rcut, got rcut_smth = 0.5 and rcut = 0.4"),
    ({"rcut": float("nan")}, "rcut_smth < rcut"),
    ({"descriptor": SmoothConfig(rcut_smth=-1.0)}, "rcut_smth = -1.0"),
    ({"descriptor": SmoothConfig(neuron=())}, "positive widths in descriptor.neuron"),
    ({"descriptor": SmoothConfig(neuron=(4, 0))}, "positive widths in descriptor.neuron"),
    ({"descriptor": SmoothConfig(neuron=(4, 8), axis_neuron=9)}, "axis_neuron between 1 and the last"),
    ({"descriptor": SmoothConfig(axis_neuron=0)}, "axis_neuron between 1 and the last"),
    ({"descriptor": SmoothConfig(bispectrum_neuron=5)}, "bispectrum_neuron from 0 to 4, as many .* matrix, got 5"),
    ({"descriptor": SmoothConfig(bispectrum_neuron=-1)}, "bispectrum_neuron from 0 to 4"),
    ({"descriptor": SmoothConfig(bispectrum_neuron=1, l_max=1)}, "from 0 to 0, .* and l_max is at least 2"),
    ({"fitting_net": FittingNetConfig(neuron=(5, -1))}, "positive widths in fitting_net.neuron"),
])
def test_configurations_that_make_no_model(change, message):
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**({"type_map": ("H", "O")} | change))


@pytest.mark.parametrize("kind", ["smooth", "radial", "local_frame"])
def test_every_kind_of_descriptor_comes_back_from_a_file(kind):
    model = random_model(kind=kind, fitting_neuron=(5,))
    again = from_bytes(to_bytes(model))
    assert again.card.config == model.card.config
    assert again.card.config.descriptor.kind == kind
