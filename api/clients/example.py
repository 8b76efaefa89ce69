"""Submit a document, watch its events, read its chunks: python3 example.py http://localhost:8484 FILE"""
import json, os, sys, urllib.request

base, path = sys.argv[1], sys.argv[2]


def call(url, body=None, **headers):
    if key := os.environ.get("CHUNKSTREAM_API_KEY"):
        headers["Authorization"] = "Bearer " + key
    return urllib.request.urlopen(urllib.request.Request(base + url, data=body, headers=headers))


# The same key for the same document: repeating the submission after a lost answer makes no second operation.
with open(path, "rb") as file:
    answer = call("/v1/operations?chunk_size=200", file.read(), **{"Content-Type": "text/plain", "Idempotency-Key": path.replace(" ", "-")})
operation = json.load(answer)
print("operation", operation["id"])

# Server-Sent Events from the first one on; the stream ends with the operation.
with call(operation["links"]["events"] + "?since=0", Accept="text/event-stream") as events:
    for line in events:
        if line.startswith(b"data:"):
            event = json.loads(line[5:])
            print("event", event["type"], event["data"].get("chunks", 0))

# All chunks, one a line. A connection that is cut raises: a part is never taken for the whole.
with call(operation["links"]["chunks"], Accept="application/x-ndjson") as chunks:
    for line in chunks:
        chunk = json.loads(line)
        print("chunk", chunk["index"], chunk["start_byte"], chunk["end_byte"], json.dumps(chunk["text"]))
