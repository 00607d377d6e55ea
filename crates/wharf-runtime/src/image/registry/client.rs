//! Asking a registry: authorisation, redirects, retries.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RANGE, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Mutex, OnceCell};

use super::challenge::Challenge;
use super::hosts::Hosts;
use super::manifest::{self, Document};
use super::place::{Place, Scheme};
use super::retry::Tries;
use super::token::{self, Wanted};
use super::wire::{Fault, Wire, collect, refused, said};
use super::{BlobPlace, Credential};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::Reference;

/// The distribution specification wants registries to take manifests of 4 MiB.
const MANIFEST_LIMIT: usize = 4 << 20;
/// A configuration grows with every line of a Dockerfile, and never so far.
const CONFIG_LIMIT: u64 = 8 << 20;
/// One to a mirror, one to a store; more is a loop.
const REDIRECT_LIMIT: usize = 5;
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";

/// One repository of a registry, or the registry itself.
#[derive(Debug)]
pub struct Registry {
    name: String,
    repository: String,
    hosts: Hosts,
    credential: Option<Credential>,
    pub(super) wire: Wire,
    scheme: OnceCell<Scheme>,
    authorization: Mutex<Option<String>>,
}

// === impl Registry ===

impl Registry {
    /// The repository of `reference`; nothing is asked yet.
    pub fn new(reference: &Reference, hosts: Hosts, credential: Option<Credential>) -> Self {
        Self {
            name: reference.registry().to_owned(),
            repository: reference.path(),
            hosts,
            credential,
            wire: Wire::from_env(),
            scheme: OnceCell::new(),
            authorization: Mutex::new(None),
        }
    }

    /// The registry `name` itself; nothing is asked yet.
    pub fn of_host(name: &str, hosts: Hosts, credential: Option<Credential>) -> Self {
        Self {
            name: name.to_owned(),
            repository: String::new(),
            hosts,
            credential,
            wire: Wire::from_env(),
            scheme: OnceCell::new(),
            authorization: Mutex::new(None),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks whether the credential is good.
    ///
    /// # Errors
    /// It is not, or there is no registry.
    pub async fn check(&self) -> Result<()> {
        let answer = self.patiently("/v2/", &[]).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            _ => Err(refused(&self.place("/v2/").await?, said(answer).await)),
        }
    }

    /// The manifest or index `wanted`, a tag or a digest, and the digest of its text.
    pub(crate) async fn document(&self, wanted: &str) -> Result<(Document, Digest)> {
        let path = format!("/v2/{}/manifests/{wanted}", self.repository);
        let answer = self.patiently(&path, &[(ACCEPT, manifest::ACCEPTED.to_owned())]).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.no_manifest(wanted, answer).await);
        }
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let (kind, promised) = (header(CONTENT_TYPE.as_str()), header("docker-content-digest"));
        let place = self.place(&path).await?;
        let text = collect(&place, answer, MANIFEST_LIMIT).await.map_err(Fault::into_error)?;
        let digest = Digest::of(&text);
        let promised = match wanted.contains(':') {
            true => Some(wanted.to_owned()),
            false => promised.filter(|promised| promised.starts_with("sha256:")),
        };
        if let Some(promised) = promised.filter(|promised| *promised != digest.to_string()) {
            let reason =
                format!("damaged manifest: its digest is {digest}, {promised} was expected");
            return Err(refused(&place, reason));
        }
        let document = Document::parse(&text, kind.as_deref());
        Ok((document.map_err(|reason| refused(&place, reason))?, digest))
    }

    /// The text of a small blob, which has the digest it should have.
    pub(crate) async fn text(&self, blob: &BlobPlace) -> Result<Vec<u8>> {
        let path = self.blob_path(blob);
        let place = self.place(&path).await?;
        if blob.size > CONFIG_LIMIT {
            return Err(refused(&place, format!("a configuration of {} bytes", blob.size)));
        }
        let limit = usize::try_from(blob.size).unwrap_or(usize::MAX);
        let answer = self.patiently(&path, &[]).await?;
        if answer.status() != StatusCode::OK {
            let said = said(answer).await;
            return Err(refused(&place, format!("blob {}: {said}", blob.digest)));
        }
        let text = collect(&place, answer, limit).await.map_err(Fault::into_error)?;
        let digest = Digest::of(&text);
        if digest == blob.digest {
            return Ok(text.to_vec());
        }
        let expected = &blob.digest;
        let reason = format!("damaged blob: its digest is {digest}, {expected} was expected");
        Err(refused(&place, reason))
    }

    /// The answer to a request for the bytes of `blob` from `offset` on.
    pub(super) async fn bytes(
        &self,
        blob: &BlobPlace,
        offset: u64,
    ) -> Result<(Place, Response<Incoming>), Fault> {
        let path = self.blob_path(blob);
        let range = (offset > 0).then(|| (RANGE, format!("bytes={offset}-")));
        let answer = self.ask(&path, range.as_slice()).await?;
        let place = self.place(&path).await.map_err(Fault::Final)?;
        Ok((place, answer))
    }

    fn blob_path(&self, blob: &BlobPlace) -> String {
        format!("/v2/{}/blobs/{}", self.repository, blob.digest)
    }

    async fn no_manifest(&self, wanted: &str, answer: Response<Incoming>) -> Error {
        let status = answer.status();
        let said = said(answer).await;
        let name = format!("{}/{}", self.name, self.repository);
        match status {
            StatusCode::NOT_FOUND if !said.starts_with("name") => {
                let separator = if wanted.contains(':') { '@' } else { ':' };
                Error::NoManifest { name: format!("{name}{separator}{wanted}"), said }
            }
            StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Denied { repository: name, registry: self.name.clone(), said }
            }
            _ => Error::Registry { registry: self.name.clone(), reason: said },
        }
    }

    /// Asks a few times, but not where nobody is.
    async fn patiently(
        &self,
        path: &str,
        headers: &[(hyper::header::HeaderName, String)],
    ) -> Result<Response<Incoming>> {
        let mut tries = Tries::short();
        loop {
            let (error, asked) = match self.ask(path, headers).await {
                Ok(answer) => return Ok(answer),
                Err(Fault::Again(error, asked)) => (error, asked),
                Err(fault) => return Err(fault.into_error()),
            };
            let Some(pause) = tries.failed(asked) else { return Err(error) };
            tracing::debug!(registry = self.name, %error, ?pause, "asking again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask(
        &self,
        path: &str,
        headers: &[(hyper::header::HeaderName, String)],
    ) -> Result<Response<Incoming>, Fault> {
        let own = self.place_of(path).await?;
        let mut place = own.clone();
        let mut authorised = false;
        let mut redirects = 0;
        loop {
            let request = self.request(&own, &place, headers).await?;
            let answer = self.wire.send(&place, request).await?;
            if answer.status() == StatusCode::UNAUTHORIZED
                && place.is_same_server(&own)
                && !authorised
            {
                authorised = true;
                if self.authorise(&own, &answer).await? {
                    continue;
                }
                return Ok(answer);
            }
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            redirects += 1;
            place = self.redirected(&place, &answer, redirects)?;
        }
    }

    async fn request(
        &self,
        own: &Place,
        place: &Place,
        headers: &[(hyper::header::HeaderName, String)],
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::builder().method(Method::GET);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // Where a registry sends us is none of its token's business.
        if place.is_same_server(own)
            && let Some(authorization) = self.authorization.lock().await.as_ref()
        {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::default()).map_err(|e| Fault::last(place, e))
    }

    fn redirected(
        &self,
        place: &Place,
        answer: &Response<Incoming>,
        redirects: usize,
    ) -> Result<Place, Fault> {
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|location| place.join(location));
        let Some(target) = target else {
            return Err(Fault::last(place, format!("{}: to nowhere", answer.status())));
        };
        if redirects > REDIRECT_LIMIT {
            return Err(Fault::last(place, "its redirects have no end"));
        }
        self.check_plain(place, &target)?;
        Ok(target)
    }

    /// Plain HTTP follows on plain HTTP only, and only where it is allowed.
    fn check_plain(&self, from: &Place, to: &Place) -> Result<(), Fault> {
        let downgraded = from.scheme == Scheme::Https || !self.hosts.allow_plain(&to.authority);
        if to.scheme == Scheme::Http && downgraded {
            return Err(Fault::last(from, format!("it leads to {to}, which is not https")));
        }
        Ok(())
    }

    /// Gets what the registry asks for; `false` when there is nothing to give it.
    async fn authorise(&self, own: &Place, answer: &Response<Incoming>) -> Result<bool, Fault> {
        let headers = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = headers.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        let value = match challenges.next() {
            None => return Ok(false),
            Some(Challenge::Basic) => match &self.credential {
                Some(Credential::Password { username, password }) => {
                    token::basic(username, password)
                }
                _ => return Ok(false),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let Some(realm) = Place::parse(&realm) else {
                    return Err(Fault::last(own, format!("its token server is {realm:?}")));
                };
                self.check_plain(own, &realm)?;
                let usual = format!("repository:{}:pull", self.repository);
                let usual = (!self.repository.is_empty()).then_some(usual);
                let scope = scope.or(usual);
                let (service, scope) = (service.as_deref(), scope.as_deref());
                let wanted = Wanted { realm, service, scope };
                token::bearer(&self.wire, &wanted, self.credential.as_ref()).await?
            }
        };
        *self.authorization.lock().await = Some(value);
        Ok(true)
    }

    async fn place(&self, path: &str) -> Result<Place> {
        self.place_of(path).await.map_err(Fault::into_error)
    }

    async fn place_of(&self, path: &str) -> Result<Place, Fault> {
        let server = if self.name == DOCKER_HUB { DOCKER_HUB_SERVER } else { &self.name };
        let scheme = self.scheme.get_or_try_init(|| async {
            if !self.hosts.allow_plain(server) {
                return Ok(Scheme::Https);
            }
            let place = Place::new(Scheme::Https, server, "/");
            let tls = self.wire.speaks_tls(&place).await;
            // Without a port, the two schemes have different ones.
            match tls {
                Ok(true) => Ok(Scheme::Https),
                Ok(false) => Ok(Scheme::Http),
                Err(Fault::Absent(_)) if place.port() == 443 && !server.ends_with(":443") => {
                    Ok(Scheme::Http)
                }
                Err(fault) => Err(fault),
            }
        });
        Ok(Place::new(*scheme.await?, server, path))
    }
}
