# Both images come from one static binary. The build context is dist/image, which `make image` fills: nothing is downloaded here, so it
# builds without a network and the same way everywhere.
#
#   pipectl           no shell: Argo CD hooks, Jobs, Tekton, `docker run`
#   pipectl-jenkins   with busybox: the Kubernetes and Docker plugins of Jenkins need sh, cat, nohup and friends in the container, and
#                     must find no ENTRYPOINT

FROM scratch AS pipectl
ARG VERSION=devel
LABEL org.opencontainers.image.title="pipectl" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY base/ /
ENV PATH=/usr/local/bin HOME=/tmp
WORKDIR /workspace
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pipectl"]

FROM scratch AS pipectl-jenkins
ARG VERSION=devel
LABEL org.opencontainers.image.title="pipectl-jenkins" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY base/ /
COPY busybox/ /
ENV PATH=/usr/local/bin:/bin HOME=/tmp
WORKDIR /workspace
# The uid of Jenkins' own agent container: files in the shared workspace belong to it.
USER 1000:1000
STOPSIGNAL SIGTERM
CMD ["pipectl", "--help"]
