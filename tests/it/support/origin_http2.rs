//! Backends that speak HTTP/2: gRPC calls of any shape, and the plain echo.
//!
//! A gRPC call gets back every message that it sends, then `grpc-status: 0` in the trailers; a path that ends
//! in `/Stream` gets ten messages for one. Messages are not taken apart: an echo need not know them.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use super::origins::{Behaviour, Guard, Io, Service};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Serves a connection until either side is done with it.
pub async fn serve(io: Box<dyn Io>, service: Service) {
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(service.max_streams);
    let behaviour = service.behaviour.clone();
    let answer = service_fn(move |request| answer(request, service.clone()));
    let mut connection = pin!(server.serve_connection(TokioIo::new(io), answer));
    // How it ended does not matter to an origin; the test looks at the gateway.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    if *behaviour.lock().expect("nobody panicked") == Behaviour::ClosesIdleConnections {
        connection.as_mut().graceful_shutdown();
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, service: Service) -> Result<Response<Body>, Infallible> {
    let in_flight = service.counters.request();
    let behaviour = *service.behaviour.lock().expect("nobody panicked");
    match behaviour {
        Behaviour::AcceptsAndNeverAnswers => pending().await,
        Behaviour::Delay(pause) => tokio::time::sleep(pause).await,
        _ => {}
    }
    let grpc =
        request.headers().get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    if request.uri().path() == "/grpc.health.v1.Health/Check" {
        return Ok(health(behaviour != Behaviour::FailsChecks));
    }
    Ok(match grpc {
        true if request.uri().path().ends_with("/Stream") => messages(request, in_flight),
        true => echo(request, in_flight),
        false => describe(request, in_flight).await,
    })
}

/// Every message comes back as it arrives.
fn echo(request: Request<Incoming>, in_flight: Guard) -> Response<Body> {
    let frames = request.into_body().into_data_stream().map(move |data| {
        let _held = &in_flight;
        data.map(Frame::data)
    });
    grpc(StreamBody::new(frames.chain(stream::iter([Ok(ok_trailers())]))).boxed_unsync())
}

/// Ten messages for one.
fn messages(request: Request<Incoming>, in_flight: Guard) -> Response<Body> {
    let first = request.into_body().into_data_stream().take(1);
    let frames = first.flat_map(|data| {
        let data = data.unwrap_or_default();
        stream::iter((0..10).map(move |_| Ok(Frame::data(data.clone()))))
    });
    let frames = frames.map(move |frame| {
        let _held = &in_flight;
        frame
    });
    grpc(StreamBody::new(frames.chain(stream::iter([Ok(ok_trailers())]))).boxed_unsync())
}

fn grpc(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/grpc").body(body).expect("a valid head")
}

/// What `grpc.health.v1` says of itself: `SERVING`, or `NOT_SERVING`.
fn health(serving: bool) -> Response<Body> {
    let message = super::client::grpc_message(&[8, if serving { 1 } else { 2 }]);
    grpc(StreamBody::new(stream::iter([Ok(Frame::data(message)), Ok(ok_trailers())])).boxed_unsync())
}

fn ok_trailers() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-end", HeaderValue::from_static("reached"));
    Frame::trailers(trailers)
}

/// What it saw, as JSON.
async fn describe(request: Request<Incoming>, in_flight: Guard) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (trailers, bytes) = match body.collect().await {
        Ok(all) => (all.trailers().map_or(0, HeaderMap::len), all.to_bytes().len()),
        Err(_) => (0, 0),
    };
    let headers: Vec<(&str, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let seen = json!({
        "method": parts.method.as_str(), "uri": parts.uri.to_string(), "version": format!("{:?}", parts.version),
        "headers": headers, "body_bytes": bytes, "trailer_count": trailers,
    });
    drop(in_flight);
    let body = Full::new(Bytes::from(seen.to_string())).map_err(|never: Infallible| match never {});
    Response::builder()
        .header("content-type", "application/json")
        .body(body.boxed_unsync())
        .expect("a valid head")
}
