//! What the requests on a connection and its socket tell each other. Both live on one worker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

/// A certificate that a client has shown and that was good then.
pub struct Certificate {
    names: Rc<[String]>,
    check: RefCell<Box<dyn FnMut() -> Verdict>>,
}

/// What is thought of a certificate now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Good,
    /// It has expired, or it was revoked.
    Bad,
}

impl Certificate {
    /// A certificate that is known by these names; `check` says whether it is still good.
    pub fn new(names: Vec<String>, check: impl FnMut() -> Verdict + 'static) -> Self {
        Self { names: names.into(), check: RefCell::new(Box::new(check)) }
    }

    /// Its names, as long as it is good.
    pub fn names(&self) -> Option<&[String]> {
        let verdict = (self.check.borrow_mut())();
        (verdict == Verdict::Good).then_some(&*self.names)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate").field(&self.names).finish()
    }
}

/// What is going on upon a connection.
#[derive(Debug, Default)]
pub struct Connection {
    certificate: Option<Certificate>,
    begun: Cell<u64>,
    open: Cell<u32>,
    reading: Cell<u32>,
    held: RefCell<Option<Waker>>,
}

impl Connection {
    /// A connection whose client has shown this.
    pub fn of(certificate: Option<Certificate>) -> Self {
        Self { certificate, ..Self::default() }
    }

    /// What its client has shown.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// A request's head has come whole. It is being served until what this returns is dropped.
    pub fn begin(self: &Rc<Self>) -> Serving {
        self.begun.set(self.begun.get().wrapping_add(1));
        self.open.set(self.open.get() + 1);
        Serving(Rc::clone(self))
    }

    /// The body of the request that is served is read until what this returns is dropped.
    pub fn read_body(self: &Rc<Self>) -> Reading {
        self.reading.set(self.reading.get() + 1);
        self.go_on();
        Reading(Rc::clone(self))
    }

    /// How many heads have come whole.
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Whether a request is being served.
    pub fn is_serving(&self) -> bool {
        self.open.get() > 0
    }

    /// Whether nobody has a use for more bytes: a request is served whose body is not being read.
    pub fn is_sated(&self) -> bool {
        self.is_serving() && self.reading.get() == 0
    }

    /// Bytes are waiting; `waker` is woken as soon as somebody may have a use for them.
    pub fn hold(&self, waker: &Waker) {
        *self.held.borrow_mut() = Some(waker.clone());
    }

    /// Wakes whoever was held.
    pub fn go_on(&self) {
        if let Some(waker) = self.held.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A request that is being served, to the last byte of its answer.
#[derive(Debug)]
pub struct Serving(Rc<Connection>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.go_on();
    }
}

/// A body that is being read.
#[derive(Debug)]
pub struct Reading(Rc<Connection>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.reading.set(self.0.reading.get().saturating_sub(1));
    }
}

/// The body of an answer, with whose end its request is no longer served.
pub struct Served {
    body: BoxBody,
    _serving: Option<Serving>,
}

impl Served {
    /// A body and the request that it answers.
    pub fn new(body: BoxBody, serving: Option<Serving>) -> Self {
        Self { body, _serving: serving }
    }
}

impl MessageBody for Served {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
