# syntax=docker/dockerfile:1

# The gateway as an image: one binary, the system's libraries and the roots of TLS, no shell.
#
#   docker build -t rungate .
#   docker run --rm --read-only -p 8080:8080 -e DATABASE_URL=… -e ADMIN_TOKEN=… rungate
#
# Without DATABASE_URL `serve` looks for the binaries of a Postgres, and none are here.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# What of the project is let in stands in .dockerignore.
COPY . .
# Of what a debugger wants only the names of functions are kept, for what a panic says.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo
# The crates and what was made of them outlive this build. cargo takes a file for built that is
# older than the last build, wherever that one came from, so the project's own crate is touched.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin rungate \
    && install -D target/release/rungate /out/rungate

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/rungate /usr/local/bin/rungate
USER 10001:10001
ENV LISTEN_ADDR=0.0.0.0:8080 ADMIN_LISTEN_ADDR=0.0.0.0:8081
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["rungate", "health"]
ENTRYPOINT ["rungate"]
CMD ["serve"]
