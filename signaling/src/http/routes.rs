//! The list of everything the server answers, kept by what adds it to the router, so that the two cannot differ.
//!
//! `signaling/tests/rest/routes.rs` walks the list: a route without a row there, that says who may use it, fails.

use std::convert::Infallible;

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::Method,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter, Route as Service, on},
};
use tower::Layer;

use crate::state::App;

/// One method of one address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `GET`, `POST` and so on; a `GET` answers `HEAD` as well.
    pub method: &'static str,
    /// With `{name}` where something varies.
    pub path: &'static str,
}

/// A router that knows what is in it.
#[derive(Default)]
pub struct Routes {
    router: Router<App>,
    list: Vec<Route>,
}

impl Routes {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one method of one address.
    pub fn on<H, T>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let (name, filter) = match method {
            Method::GET => ("GET", MethodFilter::GET),
            Method::POST => ("POST", MethodFilter::POST),
            Method::PUT => ("PUT", MethodFilter::PUT),
            Method::PATCH => ("PATCH", MethodFilter::PATCH),
            Method::DELETE => ("DELETE", MethodFilter::DELETE),
            Method::OPTIONS => ("OPTIONS", MethodFilter::OPTIONS),
            method => unreachable!("no address takes {method}"),
        };
        self.list.push(Route { method: name, path });
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// Adds `GET`.
    pub fn get<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::GET, path, handler)
    }

    /// Adds `POST`.
    pub fn post<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::POST, path, handler)
    }

    /// Adds `PUT`.
    pub fn put<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::PUT, path, handler)
    }

    /// Adds `PATCH`.
    pub fn patch<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::PATCH, path, handler)
    }

    /// Adds `DELETE`.
    pub fn delete<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on(Method::DELETE, path, handler)
    }

    /// What says that an address takes no other methods. It does nothing else, so it is on no list.
    pub fn refusing<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.router = self.router.route(path, MethodRouter::new().fallback(handler));
        self
    }

    /// What answers everything else: one more row, `GET {file}`.
    pub fn files<H, T>(mut self, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.list.push(Route { method: "GET", path: "{file}" });
        self.router = self.router.fallback(handler);
        self
    }

    /// Puts something around all that was added until now.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Service> + Clone + Send + Sync + 'static,
        L::Service: tower::Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as tower::Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as tower::Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as tower::Service<Request>>::Future: Send + 'static,
    {
        self.router = self.router.layer(layer);
        self
    }

    /// Adds all of `other`.
    pub fn merge(mut self, other: Routes) -> Self {
        self.list.extend(other.list);
        self.router = self.router.merge(other.router);
        self
    }

    /// What was added, in that order.
    pub fn list(&self) -> &[Route] {
        &self.list
    }

    /// The router.
    pub fn into_router(self) -> Router<App> {
        self.router
    }
}
