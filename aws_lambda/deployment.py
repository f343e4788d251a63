"""Finds a deployed Lambda function, and its secret, for dtconn.

The function says itself where its secret and its store are, however it was deployed: with SAM, the stack has its name;
with Terraform, the name is its own.
"""

from botocore.exceptions import ClientError

from core.verify.secrets import COOLDOWN
from deployed import DeploymentError
from deployed.contract import NAME, Deployment, Place
from readers.aws import client, reading

_RECEIVER = "Receiver"  # in template.yaml


def find(place: Place) -> Deployment:
    """Return the function of a stack, or the function, of that name."""
    name = place.name or NAME
    functions = client("lambda", place.region)
    function = _function_of_stack(name, place.region) or name
    with reading(f"the stack or function {name}", "lambda:GetFunctionConfiguration and GetFunctionUrlConfig"):
        found = functions.get_function_configuration(FunctionName=function)
        url = functions.get_function_url_config(FunctionName=function)["FunctionUrl"]
    return _Function(place.region, url, found.get("Environment", {}).get("Variables", {}))


def _function_of_stack(name: str, region: str | None) -> str | None:
    with reading(f"the stack {name}", "cloudformation:DescribeStackResource"):
        try:
            found = client("cloudformation", region).describe_stack_resource(
                StackName=name, LogicalResourceId=_RECEIVER
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":  # there is no such stack
                return None
            raise
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


class _Function(Deployment):
    # A sandbox asks for the secret again when a signature does not match, but not within the cooldown after the last
    # time, which may have begun before the write and taken some seconds.
    settle_seconds = COOLDOWN + 5

    def __init__(self, region: str | None, url: str, variables: dict[str, str]) -> None:
        self.url = url
        self._secret_id = variables.get("DT_SIGNATURE_SECRET_ID")
        if not self._secret_id:
            raise DeploymentError("The function has no DT_SIGNATURE_SECRET_ID: deploy it again, by the template.")
        is_queue = variables.get("DT_STORE") == "sqs"
        self.source = f"sqs:{variables.get('DT_QUEUE_URL')}" if is_queue else f"dynamodb:{variables.get('DT_TABLE')}"
        self.secret_command = (
            f"aws secretsmanager get-secret-value --secret-id {self._secret_id} --query SecretString --output text"
            + (f" --region {region}" if region else "")
        )
        self._secrets = client("secretsmanager", region)

    def read_text(self) -> str:
        with reading("the signature secret", "secretsmanager:GetSecretValue"):
            return str(self._secrets.get_secret_value(SecretId=self._secret_id).get("SecretString", ""))

    def write_text(self, text: str) -> str:
        with reading("the signature secret, to write it", "secretsmanager:PutSecretValue"):
            self._secrets.put_secret_value(SecretId=self._secret_id, SecretString=text)
        return "Secrets Manager has the new value. The function reads it by itself."
