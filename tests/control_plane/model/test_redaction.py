import base64
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.model.redaction import DEPTH_MAX, Json, may_hold_secret, redact, redact_json

LETTERS = string.ascii_letters + string.digits
SECRETS = st.text(LETTERS + "!@#%^*-_+=.,?", min_size=6, max_size=60).filter(
    lambda text: text.strip(LETTERS) != text or any(character.isdigit() for character in text)
)
ALPHANUMERIC = st.text(LETTERS, min_size=40, max_size=60)
HEX_KEY = "0123456789abcdef0123456789abcdef01234567"
FORMS = {
    "openai": "sk-proj-{}",
    "anthropic": "sk-ant-api03-{}",
    "own key": "oqk_key_abc_{}",
    "own join token": "oqj_tok_abc_{}_MIIB",
    "hugging face": "hf_{}",
    "github": "ghp_{}",
    "github fine": "github_pat_{}",
    "gitlab": "glpat-{}",
    "slack": "xoxb-123-{}",
    "google": "AIza{}",
    "npm": "npm_{}",
    "nvidia": "nvapi-{}",
    "vault": "hvs.{}",
    "jwt": "eyJ{}.eyJzdWIiOiIxIn0.c2ln",
    "env": "export WANDB_API_KEY={}",
    "env upper": "DB_PASSWORD={}",
    "aws": "aws_secret_access_key = {}",
    "azure": "DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=y",
    "yaml": "  password: {}",
    "json": '{{"client_secret": "{}", "user": "bob"}}',
    "json in json": '{{"body": "{{\\"api_key\\": \\"{}\\"}}"}}',
    "url": "postgresql://bob:{}@db.example.com:5432/x",
    "query": "https://example.com/x?access_token={}&user=5",
    "bearer": "Authorization: Bearer {}",
    "basic": "authorization: basic {}",
    "header": "X-Api-Key: {}",
    "cookie": "Set-Cookie: session={}; Path=/",
    "option": "train.py --hf-token {} --epochs 3",
    "option equals": "train.py --password={}",
    "curl": "curl -s -u admin:{} https://example.com",
    "netrc": "machine example.com login bob password {}",
    "spoken": "the password is {}",
    "webhook": "https://hooks.slack.com/services/T00/B00/{}",
    "wandb login": "wandb login --relogin {}",
    "docker login": "docker login -u bob -p {} registry.example.com",
    "sshpass": "sshpass -p{} ssh host",
    "mysql": "mysql -u root -p{} -h db",
    "german": "Passwort: {}",
    "french": "mot_de_passe={}",
    "langsmith": "lsv2_pt_{}",
}
HEX_FORMS = ("sbp_{}", "pul-{}", "wandb login {}")
HARMLESS = [
    "job_01hq3v5k6m7n8p9q0r failed on node gpu-a-17: Xid 79, GPU has fallen off the bus",
    "GPU-8d9f1c2a-1111-2222-3333-444455556666 at 0000:3b:00.0",
    "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "max_tokens=512, input_tokens: 100, tokens: 5, num_keys=3",
    "SyntaxError: unexpected token: identifier",
    "Missing key: model.layers.0.self_attn.q_proj.weight in state_dict",
    'File "/opt/conda/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py", line 1234',
    "/data/Llama3/Checkpoints/Run20260101/Step1000Weights-abc-def/model-00001-of-00030.safetensors",
    "NCCL WARN Timeout waiting for key=allreduce after 1800000 ms",
    "api_key: None, password: ${DB_PASSWORD}, secret: <unset>",
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",
    "https://user@example.com:8080/path?x=1&sort=asc",
    "password authentication failed for user bob",
    "train-Llama3-8B-instruct-2026-11-22-run-with-a-long-name",
    "_ZN2at6native13reduce_kernelILi512ELi1ENS0_8ReduceOpIfNS0_14func_wrapper_tEEEEvT1_ in libtorch_cuda.so",
    "wandb login failed, wandb login: currently logged in as bob",
    "docker login succeeded; ssh -p 2222 host; mysql -P 3306 --port 3306 -h db",
]


@pytest.mark.parametrize("form", list(FORMS))
@given(secret=ALPHANUMERIC)
def test_no_secret_of_a_known_form_is_left(form: str, secret: str) -> None:
    text = "before " + FORMS[form].format(secret) + " after"
    found = redact(text)
    assert secret not in found
    assert found.startswith("before ")
    assert redact(found) == found


@given(secret=SECRETS)
def test_whatever_a_variable_named_password_holds_is_hidden(secret: str) -> None:
    assert secret not in redact(f"PASSWORD={secret} x").removeprefix("PASSWORD=")


@given(data=st.binary(min_size=200, max_size=600), cut=st.booleans(), escaped=st.booleans())
def test_private_keys_are_hidden_also_cut_and_escaped_ones(data: bytes, *, cut: bool, escaped: bool) -> None:
    lines = base64.encodebytes(data).decode().splitlines()
    body = "\n".join(lines)
    end = "" if cut else "\n-----END RSA PRIVATE KEY-----"
    text = f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{body}{end}"
    found = redact(json.dumps({"key": text}) if escaped else text)
    assert not any(line in found for line in lines if len(line) > 8)


@pytest.mark.parametrize("text", HARMLESS, ids=range(len(HARMLESS)))
def test_what_diagnoses_need_is_left_as_it_is(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("form", HEX_FORMS)
def test_hexadecimal_keys_of_known_forms_are_hidden(form: str) -> None:
    found = redact(form.format(HEX_KEY))
    assert HEX_KEY not in found
    assert redact(found) == found


def test_a_hexadecimal_key_is_hidden_by_its_name_alone() -> None:
    assert redact(f"WANDB_API_KEY={HEX_KEY}") == "WANDB_API_KEY=[hidden value]"
    assert redact(f"commit {HEX_KEY}") == f"commit {HEX_KEY}"


@given(st.text(max_size=400))
def test_any_text_can_be_redacted_and_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


PIECES = [
    "password",
    "=",
    ":",
    " ",
    '"',
    "\\",
    "token",
    "sk-",
    "://",
    "@",
    "[hidden ",
    "a1B2",
    "&",
    "?",
    "--",
    "key",
    "\n",
    "is",
]


@given(st.lists(st.sampled_from([*PIECES, "A" * 30, "x9" * 20]), max_size=14))
def test_pieces_of_patterns_in_any_order_settle_at_once(pieces: list[str]) -> None:
    once = redact("".join(pieces))
    assert redact(once) == once


def _look_agrees(text: str) -> None:
    spelled = json.dumps({"text": text}, ensure_ascii=False)
    if redact(text) != text:
        assert may_hold_secret(text)
        assert may_hold_secret(spelled)
    if redact(spelled) != spelled:
        assert may_hold_secret(spelled)


@pytest.mark.parametrize("form", list(FORMS))
@given(secret=ALPHANUMERIC)
def test_the_fast_look_misses_no_known_form(form: str, secret: str) -> None:
    _look_agrees(FORMS[form].format(secret))


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_the_fast_look_misses_no_piece(text: str) -> None:
    _look_agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        "pa\u017f\u017fword=aB3dE5gH7",
        "to\u212aen: aB3dE5gH7jK9mN1",
        "access_to\u212aEN=aB3dE5gH7",
        "s\u0131g=aB3dE5gH7jK9mN1",
    ],
)
def test_the_fast_look_folds_letters_as_patterns_do(text: str) -> None:
    _look_agrees(text)


@given(
    st.sampled_from(["", "\n", "\t", "é", "é\n", "a", "gpu/", "x_"]),
    st.from_regex(r"(?:GPU|MIG)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", fullmatch=True),
    st.sampled_from(["", "/xid-119", "\n", "x", "AbC9xYz7Qw", "/ghp_" + "aB3" * 12]),
)
def test_the_fast_look_at_gpus_misses_nothing(before: str, uuid: str, after: str) -> None:
    _look_agrees(before + uuid + after)


def test_the_fast_look_lets_faults_pass() -> None:
    uuid = "GPU-8d9f1c2a-1111-2222-3333-444455556666"
    assert not may_hold_secret(json.dumps({"why": f"gpu/{uuid}/xid-119 on {uuid}\n{uuid}"}))


def test_the_fast_look_lets_what_agents_write_pass() -> None:
    assert not may_hold_secret("place job j-7zk3m09qv2xa on gpu-a-17: allowed (BUDGET): $12 of $100, " + "ab" * 32)


@pytest.mark.parametrize(
    "text", ["://a:", "-----BEGIN PRIVATE KEY-----", "password=", "eyJ", "--a", 'secret:"', "?a", "Aa1"]
)
def test_hostile_text_is_no_trap(text: str) -> None:
    redact(text * (200_000 // len(text)))  # a pattern that backtracks would not end within the test's time


def test_data_is_redacted_in_keys_values_and_by_names() -> None:
    data: Json = {
        "env": {"DB_PASSWORD": "x", "HOME": "/root", "key": 5},
        "log": ["curl -u bob:pw http://x", None, True, 1.5],
    }
    assert redact_json(data) == {
        "env": {"DB_PASSWORD": "[hidden value]", "HOME": "/root", "key": 5},
        "log": ["curl -u bob:[hidden password] http://x", None, True, 1.5],
    }
    deep: list[Json] = []
    for _ in range(DEPTH_MAX + 5):
        deep = [deep]
    assert "nested too deep" in json.dumps(redact_json(deep))
