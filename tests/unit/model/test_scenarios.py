from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.scenarios import (
    Scenario,
    load_scenario,
    scenario_hash,
    scenario_names,
    shipped_scenarios,
    task_hash,
    training_schema,
)

SMALLEST = """
name: tiny
environment:
  income: 1000
  fixed_expenses: 400
  variable_expense_mean: 100
  variable_expense_std: 10
  safety_threshold: 500
"""


def test_seven_households_and_three_environments_of_gymnasium_ship() -> None:
    assert list(shipped_scenarios()) == [
        "aggressive",
        "balanced",
        "bologna_coppia",
        "cartpole_dqn",
        "cartpole_ppo",
        "conservative",
        "milano_junior",
        "milano_senior",
        "pendulum_sac",
        "torino_single",
    ]
    bologna = load_scenario("bologna_coppia")
    assert (bologna.household.income, bologna.household.max_months) == (3200, 120)
    assert bologna.reward.lambda_ == 1


CARTPOLE = """
name: pole
environment: {id: CartPole-v1, kwargs: {sutton_barto_reward: true}, max_steps: 100}
training: {algorithm: "sb3:dqn", parameters: {learning_rate: 0.001, batch_size: 32}}
"""


def test_an_environment_with_an_id_is_one_of_gymnasium() -> None:
    pole = Scenario.from_yaml(CARTPOLE)
    assert (pole.gymnasium.id, pole.gymnasium.max_steps) == ("CartPole-v1", 100)
    with pytest.raises(ValidationFailed, match="pole is no household") as caught:
        _ = pole.household
    assert caught.value.code == "no_household"
    with pytest.raises(ValidationFailed, match="tiny is a household"):
        _ = Scenario.from_yaml(SMALLEST).gymnasium


def test_a_mapping_holds_only_the_keys_of_its_kind_of_environment() -> None:
    pole = Scenario.from_yaml(CARTPOLE).to_mapping()
    assert "reward" not in pole
    assert pole["training"].keys() == {
        "algorithm",
        "num_episodes",
        "environments",
        "patience_steps",
        "parameters",
        "steps_per_update",
        "total_timesteps",
    }
    household = Scenario.from_yaml(SMALLEST).to_mapping()
    assert "reward" in household
    assert not {"parameters", "steps_per_update", "total_timesteps"} & household["training"].keys()
    assert Scenario.from_mapping(pole) == Scenario.from_yaml(CARTPOLE)


def test_the_task_of_a_gymnasium_environment_is_the_environment() -> None:
    pole = Scenario.from_yaml(CARTPOLE)
    assert task_hash(pole.with_overrides({"num_episodes": 7})) == task_hash(pole)
    shorter = pole.with_overrides({"environment": {"max_steps": 10}})
    assert task_hash(shorter) != task_hash(pole)
    assert (shorter.gymnasium.id, shorter.gymnasium.max_steps) == ("CartPole-v1", 10)


def test_overriding_one_parameter_keeps_the_others() -> None:
    pole = Scenario.from_yaml(CARTPOLE)
    for overrides in (
        {"parameters": {"gamma": 0.9}},
        {"training": {"parameters": {"gamma": 0.9}}},
    ):
        parameters = pole.with_overrides(overrides).training.parameters
        assert parameters == {"learning_rate": 0.001, "batch_size": 32, "gamma": 0.9}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CARTPOLE + "reward: {alpha: 1}\n", ["reward is for households"]),
        (CARTPOLE.replace("CartPole-v1", "Cart Pole"), ["environment.id is 'Cart Pole'", "match"]),
        (CARTPOLE.replace("max_steps: 100", "max_steps: 0"), ["environment.max_steps is 0"]),
        (CARTPOLE.replace("max_steps", "max_stps"), ["environment.max_stps is not a known key"]),
        (CARTPOLE.replace("true", ".inf"), ["environment.kwargs: should hold finite numbers"]),
        (CARTPOLE.replace("true", "2020-01-01"), ["environment.kwargs: should hold"]),
        (
            CARTPOLE.replace("sutton_barto_reward: true", "render_mode: human"),
            ["environment.kwargs: render_mode is set by the trainer"],
        ),
        (CARTPOLE.replace("sb3:dqn", "sb3:dqm"), ["training.algorithm is 'sb3:dqm'", "sb3:td3"]),
        (CARTPOLE.replace("sb3:dqn", "ppo"), ["which is for households", "sb3:ppo"]),
        (CARTPOLE.replace("parameters:", "high_period: 3, parameters:"), ["training.high_period"]),
        (
            CARTPOLE.replace("batch_size: 32", "a: .nan"),
            ["training.parameters: should hold finite"],
        ),
        (SMALLEST + 'training: {algorithm: "sb3:ppo"}\n', ["which is for Gymnasium environments"]),
        (SMALLEST + "training: {parameters: {a: 1}}\n", ["training.parameters is for Gymnasium"]),
        (SMALLEST + "  id: CartPole-v1\n", ["environment.income is not a known key"]),
    ],
)
def test_an_error_of_the_other_kind_is_named_without_noise(text: str, words: list[str]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        Scenario.from_yaml(text)
    for word in words:
        assert word in caught.value.message
    for noise in ("tag", "union", "Gymnasium.id", "environment.household", "environment.gymnasium"):
        assert noise not in caught.value.message


def test_left_out_sections_take_the_defaults() -> None:
    scenario = Scenario.from_yaml(SMALLEST)
    assert scenario.training.algorithm == "hierarchical-ppo"
    assert scenario.reward.alpha == 10
    assert scenario.environment.investment_return_type == "stochastic"


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_yaml_round_trip_keeps_everything(name: str) -> None:
    scenario = load_scenario(name)
    again = Scenario.from_yaml(scenario.to_yaml())
    assert again == scenario
    assert scenario_hash(again) == scenario_hash(scenario)


def test_hash_follows_content_and_the_task_hash_only_the_task() -> None:
    scenario = Scenario.from_yaml(SMALLEST)
    longer = scenario.with_overrides({"num_episodes": 7})
    assert scenario_hash(longer) != scenario_hash(scenario)
    assert task_hash(longer) == task_hash(scenario)
    assert task_hash(scenario.with_overrides({"reward": {"alpha": 1}})) != task_hash(scenario)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALLEST.replace("income: 1000", "income: 0"), ["environment.income", "greater than 0"]),
        (SMALLEST + "  inflation: 2\n", ["environment.inflation", "2", "less than or equal to 1"]),
        (SMALLEST + "  colour: red\n", ["environment.colour", "not a known key"]),
        (SMALLEST + "  max_months: 1201\n", ["environment.max_months", "1201", "1200"]),
        (SMALLEST + "  max_months: 3\n", ["training.high_period", "6", "at most", "3"]),
        (SMALLEST + "  initial_cash: .nan\n", ["environment.initial_cash", "finite"]),
        (SMALLEST.replace("name: tiny", "name: ../tiny"), ["name", "../tiny"]),
        (SMALLEST.replace("  income: 1000\n", ""), ["environment.income is missing"]),
        (SMALLEST + "reward: {lambda: -1}\n", ["reward.lambda", "-1"]),
        (SMALLEST + "training: {gamma_low: 0}\n", ["training.gamma_low", "greater than 0"]),
        ("- a list", ["scenario", "should be"]),
        ("", ["scenario", "should be"]),
        ("a: [1", ["not valid YAML"]),
    ],
)
def test_an_error_names_field_value_and_bound(text: str, words: list[str]) -> None:
    with pytest.raises(ValidationFailed) as caught:
        Scenario.from_yaml(text)
    for word in words:
        assert word in caught.value.message


def test_a_folder_of_ones_own_comes_first(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SMALLEST)
    assert load_scenario("tiny", [tmp_path]).environment.income == 1000
    assert "tiny" in scenario_names([tmp_path])
    (tmp_path / "balanced.yml").write_text(SMALLEST.replace("tiny", "balanced"))
    assert load_scenario("balanced", [tmp_path]).environment.income == 1000
    (tmp_path / "other.yaml").write_text(SMALLEST)
    with pytest.raises(ValidationFailed, match="tiny"):
        load_scenario("other", [tmp_path])


@pytest.mark.parametrize(
    "name", ["../secrets", "a/b", "", "a" * 101, "a\n", "a.yaml", "..", "c:\\x"]
)
def test_a_name_never_leaves_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed):
        load_scenario(name, [tmp_path])


def test_an_unknown_name_says_what_is_known() -> None:
    with pytest.raises(NotFound) as caught:
        load_scenario("atlantis")
    assert caught.value.code == "scenario_not_found"
    assert "bologna_coppia" in caught.value.detail


def test_overrides_are_checked_like_a_file() -> None:
    scenario = load_scenario("balanced")
    changed = scenario.with_overrides({"high_period": 12, "environment": {"income": 4000}})
    assert (changed.training.high_period, changed.environment.income) == (12, 4000)
    for bad in ({"high_perod": 12}, {"reward": 3}, {"gamma_low": 2}):
        with pytest.raises(ValidationFailed):
            scenario.with_overrides(bad)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(ANYTHING)
def test_any_document_is_taken_or_refused_never_a_crash(data: object) -> None:
    with pytest.raises(ValidationFailed):
        Scenario.from_mapping(data)


def test_the_schema_is_data() -> None:
    schema = training_schema()
    assert schema["properties"]["high_period"]["minimum"] == 1
    assert "description" in schema["properties"]["clip"]
