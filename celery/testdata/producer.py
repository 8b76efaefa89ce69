"""A producer as it stands in the Python service: it sends tasks to Celery and waits for their results.

One JSON object per line of standard input is one step; its answer is one line of standard output.
"""
import base64
import datetime
import json
import sys

import redis
from celery import Celery, signature
from celery.result import AsyncResult
from kombu import Connection

url = sys.argv[1]
app = Celery("producer", broker=url, backend=url)
app.conf.accept_content = ["json", "pickle"]
app.conf.broker_transport_options = {"visibility_timeout": 3600}
NAME = "webui.chunking_tasks.process_chunking_operation"


def send(name=NAME, args=(), kwargs=None, eta_in=None, expires_in=None, link=None, **options):
    now = datetime.datetime.now(datetime.timezone.utc)
    if eta_in is not None:
        options["eta"] = now + datetime.timedelta(seconds=eta_in)
    if expires_in is not None:
        options["expires"] = now + datetime.timedelta(seconds=expires_in)
    if link:
        options["link"] = signature(link)
    return app.send_task(name, args=list(args), kwargs=kwargs or {}, **options).id


def state(id):
    return AsyncResult(id, app=app).state


def info(id):
    return AsyncResult(id, app=app).info


def get(id, timeout=20):
    try:
        return {"state": "SUCCESS", "result": AsyncResult(id, app=app).get(timeout=timeout)}
    except Exception as e:
        r = AsyncResult(id, app=app)
        return {"state": r.state, "type": type(e).__name__, "module": type(e).__module__, "words": str(e)}


def restore():
    """What a Python worker on the same broker does with messages that were taken long ago."""
    with Connection(url, transport_options={"visibility_timeout": 0, "unacked_mutex_expire": 1}) as conn:
        channel = conn.default_channel
        channel.client.delete("unacked_mutex")
        channel.qos.restore_visible(interval=1)
    return True


steps = {"send": send, "get": get, "state": state, "info": info, "restore": restore}
for line in sys.stdin:
    step = json.loads(line)
    do = steps[step.pop("do")]
    print(json.dumps(do(**step)), flush=True)
