"""The ten groups of attacks on a server of generated media, and the tests that hold each off.

| group | what must hold |
|---|---|
| bodies | bodies are capped before they are parsed, and part by part; a client may leave |
| names | names on disk are ours; no field and no address becomes a path |
| addresses | no URL is fetched unless that is on; then the checked address is, at every hop |
| pictures | header before pixels; bombs end in a child |
| clips | plain containers, no protocols, in a child under limits that is ended when it hangs |
| surface | no request makes a 5xx; two majors of the openai client work; states of jobs hold |
| chaos | killed engines, servers and databases, full disks and full memories lose no job |
| load | overload is refused with 429, loses nothing, and is charged once |
| tenants | others' ids do not exist; keys are hashed, scoped; logs hold no secret or prompt |
| output | what users wrote is text wherever it comes out, and allowed before it is set |
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
API = "tests/unit/serving"
GROUPS = {
    "bodies": (
        f"{API}/test_api_refusals.py::test_a_body_over_the_cap_is_refused_before_it_is_parsed",
        f"{API}/test_hostile_requests.py::test_parts_are_capped_one_by_one",
        "tests/system/test_gone_clients.py::test_a_client_that_goes_in_mid_upload_leaves_nothing",
        "tests/system/test_gone_clients.py::test_a_body_that_is_declared_too_large_is_refused_unread",
    ),
    "names": (
        "tests/system/test_hostile_uploads.py::test_no_name_on_the_disk_is_a_users",
        f"{API}/test_hostile_requests.py::test_no_path_in_an_address_leads_to_a_file",
    ),
    "addresses": (
        f"{API}/test_outbound.py::test_pictures_are_fetched_only_where_that_is_on",
        f"{API}/test_outbound.py::test_the_address_that_was_checked_is_the_one_that_is_called",
        f"{API}/test_outbound.py::test_each_hop_of_a_redirect_is_checked",
        f"{API}/test_outbound.py::test_addresses_inside_are_refused",
        f"{API}/test_outbound.py::test_a_file_without_an_end_is_cut_off",
        f"{API}/test_outbox.py::test_wrong_endpoints_are_refused",
    ),
    "pictures": (
        "tests/system/test_hostile_uploads.py::test_picture_bombs_end_in_the_child",
        "tests/system/test_hostile_uploads.py::test_refused_files_leave_nothing",
        f"{API}/test_api_refusals.py::test_wrong_pictures_are_refused",
    ),
    "clips": (
        "tests/system/test_hostile_uploads.py::test_clips_that_are_not_what_they_seem",
        "tests/system/test_hostile_uploads.py"
        "::test_a_reference_to_another_file_inside_an_mp4_is_not_followed",
        "tests/system/test_hostile_uploads.py::test_the_child_that_decodes_is_limited",
        "tests/system/test_hostile_uploads.py::test_a_child_that_hangs_is_ended",
    ),
    "surface": (
        "tests/contracts/test_openapi.py::test_no_request_makes_a_server_error",
        "tests/contracts/test_openai_client.py::test_client",
        f"{API}/test_job_states.py::TestJobStates",
        f"{API}/test_api_refusals.py::test_a_page_of_another_site_cannot_call",
    ),
    "chaos": (
        "tests/contracts/test_openai_client.py::test_jobs_survive_a_killed_server",
        "tests/system/test_database_crash.py::test_jobs_survive_a_crash_of_the_database",
        f"{API}/test_engine.py::test_a_new_engine_takes_over_from_a_dead_one_before_the_lease_ends",
        f"{API}/test_hostile_requests.py"
        "::test_a_job_that_runs_out_of_something_ends_and_the_next_is_done",
    ),
    "load": (
        f"{API}/test_admission.py::test_overload_is_refused_with_429_and_loses_nothing",
        f"{API}/test_admission.py::test_a_quota_counts_what_was_used_and_what_waits",
        f"{API}/test_job_states.py::TestJobStates",
    ),
    "tenants": (
        f"{API}/test_access.py::test_what_another_tenant_made_does_not_exist",
        f"{API}/test_access.py::test_only_the_hash_of_a_key_is_kept",
        f"{API}/test_access.py::test_a_scope_limits_what_a_key_does",
        f"{API}/test_redaction.py::test_secrets_are_taken_out_of_records",
        f"{API}/test_redaction.py::test_a_failing_model_does_not_log_the_prompt",
        f"{API}/test_tracing.py::test_a_trace_goes_from_the_callers_request_to_the_end_of_the_job",
    ),
    "output": (
        f"{API}/test_workflow_refusals.py::test_the_policy_is_asked_about_all_that_a_plan_says",
        f"{API}/test_workflow_state.py::test_words_for_pictures_and_tables",
        f"{API}/test_storyboard_files.py"
        "::test_the_edit_list_holds_the_same_cut_and_no_line_of_a_users",
        f"{API}/test_storyboard_files.py::test_final_cut_xml_reads_back",
        f"{API}/test_storyboard_files.py::test_the_table_tells_all_and_no_cell_is_a_formula",
        f"{API}/test_storyboard_files.py::test_the_sheets_show_every_shot",
        f"{API}/test_storyboard_files.py::test_the_bundle_holds_all_of_it_with_every_take",
        f"{API}/test_game_files.py::test_a_cutscene_branches_and_its_subtitles_are_only_text",
        f"{API}/test_lesson_files.py"
        "::test_captions_and_chapters_are_valid_and_in_step_with_the_film",
        f"{API}/test_lesson_files.py::test_texts_escape_what_the_plan_says",
        f"{API}/test_lesson_files.py"
        "::test_the_scorm_package_names_its_files_and_holds_no_foreign_address",
        f"{API}/test_campaign_files.py"
        "::test_the_manifest_holds_no_formula_and_the_report_no_markup",
        "tests/system/test_studio.py::test_a_video_is_made_watched_and_followed_to_its_parent",
        "tests/system/test_studio.py::test_scripts_of_others_do_not_run",
        f"{API}/test_hostile_requests.py::test_the_studio_is_a_page_that_runs_nothing_of_others",
    ),
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_tests_of_each_group_exist(group: str) -> None:
    for place in GROUPS[group]:
        path, _, name = place.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        names = {getattr(node, "name", "") for node in tree.body}
        names |= {target.id for node in tree.body if isinstance(node, ast.Assign)
                  for target in node.targets if isinstance(target, ast.Name)}  # fmt: skip
        assert name in names, place
