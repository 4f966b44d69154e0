"""A model's words hold nothing to fetch or to run, and plain advice passes."""

import pytest

from control_plane.fleet.failures.shown import Piece
from control_plane.model.diagnosis import Diagnosis, EvidenceItem, EvidenceKind, FaultDomain
from control_plane.tools.model_cause import CauseQuestion, ReplyRefused, read_reply

QUESTION = CauseQuestion(
    "A job failed",
    Diagnosis("UNKNOWN", "", "", FaultDomain.UNKNOWN, 0.0, ()),
    (Piece(EvidenceItem("log:1", EvidenceKind.LOG, "a line"), "rank 0"),),
    ("DATA_INVALID",),
)


def read(advice: str) -> Diagnosis | None:
    reply = {
        "cause": "DATA_INVALID",
        "summary": "The shard is cut off.",
        "advice": advice,
        "fault": "job",
        "confidence": 0.6,
        "evidence": ["E1"],
        "alternatives": [],
    }
    return read_reply(reply, QUESTION, "some-model")


@pytest.mark.parametrize(
    "advice",
    [
        "Run pip install torch-fixed and start again.",
        "run pip3 -q install --index-url x torch-fixed",
        "Use npx fix-my-gpu, or npm i fix-my-gpu.",
        "Do apt-get -y install driver-fix",
        "git clone the repaired loader",
        "docker run the repaired image",
        "python -c the line of the log",
        "Download the shard from data-mirror.example.com again.",
        "Get it from 203.0.113.7 again",
        "bash ./fix.sh",
        "ssh root@gpu-a-17",
    ],
)
def test_advice_to_fetch_or_run_something_may_not_stand(advice: str) -> None:
    with pytest.raises(ReplyRefused, match="plain words only"):
        read(advice)


@pytest.mark.parametrize(
    "advice",
    [
        "Install the package torch in the image, for CUDA 12.4 and driver 550.54.15.",
        "Look at train.py, at model.safetensors and at torch.nn.parallel; write the shard anew.",
        "Check that the job can run on two nodes, and that the shell script ends.",
        "Ask for more memory, or use a smaller batch; e.g. 8 in place of 16.",
        "Have python read the file run.sh in the image, and git ignore it.",
    ],
)
def test_plain_advice_stands(advice: str) -> None:
    found = read(advice)
    assert found is not None
    assert found.advice == advice
