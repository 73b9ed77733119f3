"""Signs restaurants up, as the web pages of the clusters would: signup.py FIRST COUNT CLUSTER…

Restaurant N has the message-id `signup-N`: the same command again sends the same events again.
"""

import sys

from logs import Logs

first, count, clusters = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
logs = Logs()
for n in range(first, first + count):
    restaurant = {
        "name": f"Restaurant {n}",
        "email": f"chef-{n}@example.com",
        "password": f"correct horse {n}",
        "branches": [{"address": f"{n} Main Street", "seats": 20 + n}],
    }
    logs.publish("RESTAURANT_SIGNUP", restaurant, f"signup-{n}", cluster=clusters[n % len(clusters)])
print(f"{count} sign-ups are with the broker", flush=True)
