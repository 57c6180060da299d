"""What every test shares. The user's x64 flag is left off: NumPy float64 in an eager call must answer in float64."""

import gc
import importlib.metadata
import os
import pathlib
import re

# Before jax: one backend, so the same numbers on every machine; BLAS threads as the command line sets them (see there).
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # Most of the suite's time is XLA's compiler: its older emitters, gone from later versions (which die of an unknown
    # flag), take half as long, and code that is not optimised two thirds of that. What runs for long wants to be
    # optimised: .ci/run sets its own flags for the slow tests.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

MOST_MAPS = 40_000

# Measured: these take longest, most of it in XLA's compiler, and each has a quicker sibling that stays. They count as
# slow, so that everybody's run stays short; .ci/run runs them all but the long.
SLOW = re.compile(
    "|".join(
        (
            r"test_broja.py::test_gradients_match_central_differences\[shape2-interior_point",
            r"test_broja.py::test_jit_vmap_and_grad_compose\[shape1",
            r"test_broja.py::test_float32_brackets_the_float64_truth\[.*-shape1",
            r"test_broja.py::test_pointwise_values_average_to_the_pid\[.*-shape[23]",
            r"test_broja.py::test_dtypes_are_kept_and_the_flag_untouched\[shape1-float32",
            r"test_broja.py::test_a_stopped_solve_still_knows_what_either_modality_says\[.*-float32",
            r"test_broja.py::test_late_fusion_models_have_no_synergy\[shape1",
            r"test_broja.py::test_every_task_is_solved_exactly_by_every_route\[.*(erased|swapped|padded)",
            r"test_input.py::test_inside_jit_bad_input_is_nan_with_an_infinite_gap\[.*shape2",
            r"test_docs.py::.*\[pidjax.(estimators.(samplewise|classifier|knife)|joint|datasets.gaussian)\]",
            r"test_gaussian_tasks.py::test_(samples_and_posteriors_under|three_classes_by|gate_samples_read|maps_are)",
            r"test_problems.py::test_keys_give_different_problems",
            r"test_joint.py::test_kmeans_(works_under_jit|finds_clusters)",
            r"test_lattice.py::test_jit_vmap_and_grad",
            r"test_resampling.py::test_large_tables",
            r"test_quantify.py::test_(the_same_key|samples_entered_twice|when_every_sample_is_its_own|a_permutation_uses)",
            r"test_lsmi.py::test_raw_redundancy_slides",
            r"test_cross_fit.py::test_(it_runs_under_vmap|repeats_divide|another_function)",
            r"test_classifier.py::test_(vmap_over|the_joint_one_starts|matrices_decay)",
            r"test_knife.py::test_(each_fold|the_information|a_vmap_over|entropies_in_two|it_integrates)",
            r"test_samplewise.py::test_(vmap_over|unseen|missing_features)",
            r"test_checkpoint.py::test_chunks_are_the_whole\[(1|7|100)\]",
            r"test_batch.py::test_gates_are_known_to_a_hundredth_of_a_bit\[(or|unique1|redundant)\]",
            r"test_batch.py::test_it_is_never_below_the_union_information\[(0.0|30.0)",
            r"test_batch.py::test_(trained_it_is|what_is_left|weights_are|a_fit_is_traced)",
            r"test_dual.py::test_it_is_never_above_the_union_information\[(0.0|30.0)",
            r"test_dual.py::test_(trained_it_is_close_on_tables\[[48]|two_private|pointwise_values_of_unseen|weights_are)",
            r"test_scaling.py::test_the_bracket_(closes|contains)",
            r"test_scaling.py::test_(what_a_source|swapping|merging|the_certificate_is_what_it_says\[[vnz])",
            r"test_sinkhorn.py::test_.*\[log",
            r"test_sinkhorn.py::test_auto_is",
            r"test_latent.py::test_(mean_informations|truths_with_dropout).*mix",
            r"test_latent.py::test_(unions_are_those|with_dropout_too|ten_tasks|labels_are_equally_likely.*\[[35])",
            r"test_polar.py::test_(mean_informations_of_polar|polar_samples_under|a_binned_polar)",
            r"test_posteriors.py::test_(jit_equals|a_table_of_fewer|float32_is|gradients_hold|certain_posteriors)",
            r"test_posteriors.py::test_(exact_posteriors_give_the_closed_form\[g(0|45)|many_labels_are)",
            r"test_posteriors.py::test_a_table_with_two_labels_is_decomposed_exactly\[[12]",
            r"test_quantify_posteriors.py::test_(permutations|probabilities_of|symbols_beside)",
            r"test_bootstrap.py::test_copies",
            r"test_docs.py::.*\[pidjax.(bootstrap|estimators.(fitted|batch|dual))\]",
            r"test_posteriors.py::test_(the_gradient_is|rescaling_weights|bold_posteriors)",
            r"test_scaling.py::test_(float32_is|samples_of_a_binary)",
            r"test_bootstrap.py::test_the_spread",
            r"test_continuous_benchmark.py::test_a_cell",
            r"test_broja.py::test_float32_brackets_the_float64_truth\[dense-shape0",
            r"test_broja.py::test_the_certificate_is_what_it_says\[dense-shape[23]",
            r"test_broja.py::test_(dtypes_are_kept.*\[shape(0-float32|1-float64)|late_fusion.*\[shape0-1)",
            r"test_broja.py::test_every_task_is_solved_exactly_by_every_route\[copy",
            r"test_gaussian_tasks.py::test_.*lsmi_10",
            r"test_robustness.py::test_interior_point_certifies_small_problems\[1.0",
            r"test_broja.py::test_empty_symbols",
            r"test_bounds.py::test_(the_synergy_of_random_joints_is_inside\[shape1|the_binding|the_disagreement_of_samp)",
            r"test_maximum_entropy.py::test_(it_is_the_limit_of_proportional_fitting\[shape1|the_gradient_is)",
            r"test_reconciliation.py::test_(jit_is_eager|float32_is|what_sampling)",
            r"test_bounds.py::test_(the_upper_bound_is_mostly|reconciled_tables_of_one|one_symbol|the_disagr.*of_samples)",
            r"test_minimum_entropy.py::test_gradients_are",
            r"test_maximum_entropy.py::test_one_symbol.*shape1",
            r"test_docs.py::.*\[pidjax.(applications.collection|quantify_unpaired|bounds|couplings.reconciliation)\]",
            r"test_scaling.py::test_a_batch_is",
            r"test_dual.py::test_it_is_never_above_the_union_information\[1.0-3-2",
            r"test_broja.py::test_the_certificate_is_what_it_says\[sparse-shape[23]",
            r"test_broja.py::test_float32_brackets_the_float64_truth\[sparse-shape0",
            r"test_robustness.py::test_interior_point_certifies_small_problems\[8.0",
            r"test_posteriors.py::test_(a_table_with_two_labels_is_decomposed_exactly\[0|a_certain_pair.*float64|one_label)",
            r"test_quantise.py::test_information_grows",
            r"test_broja.py::test_(a_stopped_solve.*\[sparse-float64|swapping_the_modalities.*shape2)",
            r"test_main.py::test_features_are_discretised",
            r"test_collection.py::test_it_maps",
            r"test_quantify_unpaired.py::test_xor_is",
            r"test_joint.py::test_ott_is_imported_only",
            r"test_posteriors.py::test_a_certain_pair.*float32",
            r"test_quantify.py::test_the_mean_over_samples.*\[4-4-5",
            r"test_docs.py::.*\[pidjax.(posteriors|datasets.latent)\]",
            r"test_batch.py::test_gates_are_known_to_a_hundredth_of_a_bit\[xor",
            r"test_broja.py::test_the_union_needs_the_pairwise_marginals_alone\[shape2",
            r"test_broja.py::test_a_stopped_solve.*\[dense-float64",
            r"test_broja.py::test_(alternating_sinkhorn_agrees\[shape1|one_symbol_or_one_label.*\[5|every_product.*and\^3)",
            r"test_broja.py::test_gradients_match_central_differences\[shape1-two",
            r"test_quantify.py::test_(a_legacy_key|groups_change)",
            r"test_knife.py::test_the_candidate_of_least",
            r"test_batch.py::test_(the_estimates_average|confident)",
            r"test_dual.py::test_(the_potentials|confident|double|estimates_are)",
            r"test_latent.py::test_(truths_with_dropout|labels_are_equally)",
            r"test_consistency.py::test_(vmap_over|certain_posteriors.*float64)",
            r"test_docs.py::.*\[pidjax.estimators.(infometer|autoregressive|hyperprior|factorised|coders|invertible)\]",
            r"test_docs.py::.*\[pidjax.estimators.(masked_convolution|cells|flow|cross_fit)\]",
            r"test_docs.py::.*\[pidjax.(quantify_infometer|applications.(study|schemes)|gaussian_samples|normal_scores)\]",
            r"test_docs.py::.*\[pidjax.couplings.(minimum|maximum)_entropy\]",
            r"test_infometer.py::test_(few_samples|informations_are)",
            r"test_bottleneck.py::test_(dtypes_are_kept\[(hyper|invert|masked|factor)|samples_in_another|a_fit_returns)",
            r"test_bottleneck.py::test_(the_rate_of_a_normal|probabilities_of_(pairs|maps))",
            r"test_broja.py::test_float32_brackets_the_float64_truth\[noisy_copy-shape0",
            r"test_broja.py::test_a_stopped_solve.*\[(very_sparse|near_deterministic|deterministic|noisy_copy)-float64",
            r"test_broja.py::test_the_certificate_is.*\[(very_sparse|near_deterministic|deterministic|noisy_copy)-shape[23]",
            r"test_broja.py::test_(jit_vmap_and_grad_compose\[shape0|one_symbol_or_one_label.*\[1)",
            r"test_problems.py::test_(vmap_over_keys|every_problem_is_a_pmf).*(near_det|noisy|sparse)",
            r"test_problems.py::test_(sparse_kinds_keep.*sparse-0.2|thin_shapes.*near_det)",
            r"test_minimum_entropy.py::test_a_search_(mostly|keeps).*shape0",
            r"test_quantify_gaussian.py::test_pairs_that",
            r"test_broja.py::test_(a_second_call|the_gradient_is_the_pointwise|equal_channels.*shape1|empty_cells_get)",
            r"test_broja.py::test_every_task_is_solved_exactly_by_every_route\[(red_and_u1|rdn_xor)",
            r"test_broja.py::test_(pointwise_values.*dense-shape1|alternating_sinkhorn.*shape0-1|dtypes_are.*shape0-float64)",
            r"test_posteriors.py::test_exact_posteriors_give_the_closed_form\[g30",
            r"test_(samplewise.py::test_atoms_of_every|lsmi.py::test_jit_and_vmap|classifier.py::test_pictures_and)",
            r"test_batch.py::test_gates_are_known.*\[and",
            r"test_dual.py::test_it_is_never_above.*1.0-4-2",
            r"test_reconciliation.py::test_(tables_of_one_joint.*dense-shape1|symbols_that)",
            r"test_maximum_entropy.py::test_it_is_the_limit",
            r"test_bounds.py::test_tables_of_samples",
            r"test_consistency.py::test_the_derivative",
            r"test_problems.py::test_(a_draw_that|every_problem.*dense)",
            r"test_(latent|gaussian_tasks).py::test_mean_informations.*\[(latent_red|g0)",
            r"test_polar.py::test_polar_samples_are",
            r"test_knife.py::test_raw_surprisals.*0.01",
            r"test_docs.py::.*\[pidjax.datasets.(polar|problems)\]",
            r"test_schemes.py::test_partners",
        )
    )
)


# Slow ones, an hour and a half together, most of half a minute and more: studies, trained over seeds and settings, and
# further settings of what .ci/run keeps one of. ``pytest -m long`` runs them, before a release and after a change of
# what they study.
LONG = re.compile(
    "|".join(
        (
            r"test_notebooks.py::test_it_runs_in_a_fresh_kernel\[(with_data|without_data-0[2356])",
            r"test_(samplewise_|continuous_)?benchmark(s)?.py::test_the_quick_run",
            r"test_real_data.py::test_(avmnist_is|every_pair)",
            r"test_samplewise.py::test_(means_of_informations_are_the_truth|units_of_a_modality)",
            r"test_quantify_posteriors.py::test_(the_bars_for_learned_posteriors|learned_bounds.*lsmi_10)",
            r"test_bounds.py::test_the_synergy_of_a_hundred_thousand_joints_is_inside\[shape[123]",
            r"test_maximum_entropy.py::test_the_bracket_closes_on_all_but_one.*shape2",
            r"test_scaling.py::test_the_bracket_closes_on_the_interior_point_methods_for_every_kind\[shape2",
            r"test_infometer.py::test_(the_information_of_normal_pairs.*-[12]\]|the_standard_error_is|ten_pairs|what_only)",
            r"test_infometer.py::test_(information_grows|independent_modalities.*\[[12]\]|a_noisy_bit.*0.3)",
            r"test_gaussian_samples.py::test_.*cover",
            r"test_latent_suite.py::",
            r"test_infometer.py::test_(maps_share.*0.0|the_information_of_normal_pairs.*-0.0-0)",
            r"test_samplewise.py::test_the_shift_clamps.*\[(lsmi_10|c3)",
            r"test_robustness.py::test_the_routes_agree\[shape[39]-dense",
            r"test_(posteriors.py::test_the_bar_for_exact.*\[1|dual.py::test_trained_it_is_close.*c3)",
            r"test_broja.py::test_every_product_is_solved_exactly.*(and.3.xor|red_and_u1.3_)",
            r"test_broja.py::test_every_task_is_solved_exactly_by_every_route\[(red_and_u1|rdn_xor|copy)_",
            r"test_infometer.py::test_(maps_share|a_vmap_over_eight|what_models_learn|copies_share|weights_are_rep)",
            r"test_infometer.py::test_(a_joint_model_sees.*invertible|the_information.*invertible-0.5|joints_that.*joint[12])",
            r"test_bounds.py::test_(float32_is_kept|the_synergy_of_random_joints.*shape1|the_binding|symbols_that_do)",
            r"test_bottleneck.py::test_(a_map_given_itself|scales_that_vary)",
            r"test_bottleneck.py::test_the_rate_of_a_normal_is_its_entropy\[(scale.hyper|hyper|factor).*-(0.5|1.0)",
            r"test_samplewise.py::test_eight_datasets",
            r"test_scaling.py::test_the_bracket_closes_on_the_interior_point_methods_for_every_kind\[shape1",
            r"test_maximum_entropy.py::test_float32_is_kept",
            r"test_quantify_infometer.py::test_(maps_are_coded|given_the_label)",
            r"test_quantify_posteriors.py::test_learned_bounds_enclose_what_is_solved_without_cells",
            r"test_flow.py::test_distortions_that_mix|test_quantify_gaussian.py::test_a_flow_of_copies",
        )
    )
)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items):
    """Mark what the tables name."""
    for item in items:
        long = LONG.search(item.nodeid)
        if long or SLOW.search(item.nodeid):
            item.add_marker(pytest.mark.slow)
        if long:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Forget compiled programs between files: a process may map 65,530 pieces of memory, and each takes a few.

    At the limit XLA's compiler dies of a segmentation fault (seen after two thirds of the slow tests).
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Trace in float64 for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def tiny_lsmi():
    """Settings of LSMI that compile and train in seconds: linear classifiers of two labels, one kernel, two folds."""
    import flax.linen as nn
    import jax.numpy as jnp

    from pidjax.estimators import Recipe

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jnp.concatenate(jax.tree.leaves(x), 1)
            return nn.Dense(2, kernel_init=nn.initializers.zeros_init())(x)

    return Recipe(
        folds=2, repeats=1, steps=100, batch_size=64, learning_rate=0.1, weight_decay=0.0, net1=Linear(), net2=Linear(),
        net12=Linear(), kernels=(1,), knife_steps=60, knife_batch_size=64,
    )  # fmt: skip
