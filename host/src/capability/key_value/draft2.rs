//! `wasi:keyvalue@0.2.0-draft2`, the newer draft: values can be swapped.

use super::{get, get_many, increment, list, open, remember, store_name, swap, write};
use crate::capability::Guest;
use crate::wit::key_value::draft2::wasi::keyvalue::{
    atomics::{self, CasError},
    batch, store,
};
use crate::wit::key_value::{Bucket, Cas, Error};
use store::KeyResponse;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

impl store::Host for Guest {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Error> {
        open(self, identifier)
    }

    fn convert_error(&mut self, error: Error) -> Result<store::Error> {
        match error {
            Error::NoSuchStore => Ok(store::Error::NoSuchStore),
            Error::AccessDenied => Ok(store::Error::AccessDenied),
            Error::Other(text) => Ok(store::Error::Other(text)),
            Error::Trap(error) => Err(error),
        }
    }
}

impl store::HostBucket for Guest {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        let store = store_name(self, &bucket)?;
        get(self, &store, key).await
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let store = store_name(self, &bucket)?;
        write(self, &store, [(key, Some(value))])
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Error> {
        let store = store_name(self, &bucket)?;
        write(self, &store, [(key, None)])
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Error> {
        let store = store_name(self, &bucket)?;
        Ok(get(self, &store, key).await?.is_some())
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<KeyResponse, Error> {
        let store = store_name(self, &bucket)?;
        let (keys, cursor) = list(self, &store, cursor).await?;
        Ok(KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
        self.resources.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, Error> {
        let store = store_name(self, &bucket)?;
        increment(self, &store, key, delta).await
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<Result<(), CasError>> {
        Ok(match swap(self, cas, value).await {
            Ok(None) => Ok(()),
            Ok(Some(cas)) => Err(CasError::CasFailed(cas)),
            Err(error) => Err(CasError::StoreError(store::Host::convert_error(self, error)?)),
        })
    }
}

impl atomics::HostCas for Guest {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, Error> {
        let store = store_name(self, &bucket)?;
        remember(self, store, key).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        let Cas { store, key, .. } = self.resources.get(&cas)?;
        let (store, key) = (store.clone(), key.clone());
        get(self, &store, key).await
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> Result<()> {
        self.resources.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let store = store_name(self, &bucket)?;
        let values = get_many(self, &store, &keys).await?;
        let pair = |(key, value): (String, Option<Vec<u8>>)| value.map(|value| (key, value));
        Ok(keys.into_iter().zip(values).map(pair).collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        let store = store_name(self, &bucket)?;
        write(self, &store, key_values.into_iter().map(|(key, value)| (key, Some(value))))
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), Error> {
        let store = store_name(self, &bucket)?;
        write(self, &store, keys.into_iter().map(|key| (key, None)))
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    store::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    atomics::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    batch::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
