"""What Prefect does by itself on our events, once a user has switched it on in the UI."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import AutomationCore, EventTrigger, Posture
from prefect.events.actions import RunDeployment

from flows.client import DEPLOYMENT

RELEASE_CREATED = "reel.release.created"
CHANGE = "reel.release.change"  # label of that event's resource: large | small
TRAIN = "Train on new footage"


def register(client: SyncPrefectClient) -> None:
    """Create the automations that are missing, at rest; one that a user changed stays."""
    if client.read_automations_by_name(TRAIN):
        return
    train = client.read_deployment_by_name(f"train-model/{DEPLOYMENT}")
    client.create_automation(
        AutomationCore(
            name=TRAIN,
            description="Trains a candidate when a release brings much that is new.",
            enabled=False,
            trigger=EventTrigger(
                expect={RELEASE_CREATED},
                match={CHANGE: "large"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[
                RunDeployment(
                    source="selected",
                    job_variables=None,
                    deployment_id=train.id,
                    parameters={"release": "{{ event.payload.release }}"},
                )
            ],
        )
    )
