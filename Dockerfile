# The image of every task of the pipeline on Kubeflow: the lock and this package, for a user who is not root.
# The base needs Python 3.11 with venv, and certificate authorities in Debian's place.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

ENV PATH=/opt/venv/bin:$PATH

# The installers trust the authorities of the base image, where a company adds its own, rather than their own lists.
COPY requirements/python3.11.lock /opt/tfx-pruning/
RUN cd /opt/tfx-pruning \
    && export PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    && python3 -m venv /opt/venv \
    && pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        "$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' python3.11.lock)" \
    && uv pip install --quiet --no-cache --python /opt/venv/bin/python --no-deps --require-hashes --compile-bytecode \
        -r python3.11.lock \
    && useradd --uid 1000 --create-home tfx

COPY . /opt/tfx-pruning
RUN cd /opt/tfx-pruning \
    && uv pip install --quiet --no-cache --python /opt/venv/bin/python --no-deps --no-build-isolation \
        --compile-bytecode . \
    && rm -rf /opt/tfx-pruning

# By number: Kubernetes takes no name as proof that a user is not root.
USER 1000:1000
WORKDIR /home/tfx
