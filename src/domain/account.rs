//! Who may call, what each of them may do, and what each sees.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{InvalidId, Principal, StoreId, Timestamp};

/// What a caller may do: each role also does what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Moves stock in its stores.
    Clerk,
    /// Moves stock in all stores, runs sync and imports.
    Operator,
    /// Users, tokens, stores, products.
    Admin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Clerk, Self::Operator, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Clerk => "clerk",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// The stores that somebody sees: all, or no others than these. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(
    /// In order, each once.
    Option<Arc<[StoreId]>>,
);

impl Scope {
    pub fn of(stores: &[StoreId]) -> Self {
        let mut stores = stores.to_vec();
        stores.sort();
        stores.dedup();
        Self(Some(stores.into()))
    }

    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    pub fn has(&self, store: &StoreId) -> bool {
        self.stores().is_none_or(|stores| stores.binary_search(store).is_ok())
    }

    /// None where they are all.
    pub fn stores(&self) -> Option<&[StoreId]> {
        self.0.as_deref()
    }

    /// The store, where it is one.
    pub fn only(&self) -> Option<&StoreId> {
        match self.stores() {
            Some([store]) => Some(store),
            _ => None,
        }
    }
}

/// A role, with the stores to which it is narrowed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    role: Role,
    /// Only a viewer's or a clerk's is narrow.
    seen: Scope,
}

impl Rights {
    pub fn new(role: Role, stores: Option<&[StoreId]>) -> Self {
        let narrowed = stores.filter(|_| role < Role::Operator);
        let seen = narrowed.map(Scope::of).unwrap_or_default();
        Self { role, seen }
    }

    /// Of everybody where there is no authentication.
    pub fn all() -> Self {
        Self::new(Role::Admin, None)
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// The stores beside which nothing is seen.
    pub fn seen(&self) -> &Scope {
        &self.seen
    }

    /// Whether reads show this store.
    pub fn sees(&self, store: &StoreId) -> bool {
        self.seen.has(store)
    }

    /// Whether stock may be moved in this store. A clerk without a list has no stores.
    pub fn moves(&self, store: &StoreId) -> bool {
        match self.role {
            Role::Viewer => false,
            Role::Clerk => !self.seen.is_all() && self.sees(store),
            Role::Operator | Role::Admin => true,
        }
    }

    pub fn moves_everywhere(&self) -> bool {
        self.role >= Role::Operator
    }

    /// Whether there is any store in which stock may be moved.
    pub fn moves_somewhere(&self) -> bool {
        let has_stores = self.seen.stores().is_some_and(|stores| !stores.is_empty());
        self.moves_everywhere() || self.role == Role::Clerk && has_stores
    }
}

/// The name of a user or a service token: 1 to 64 ASCII letters, digits, `.`, `_`, `-`, `@` and `+`, so that it is the
/// same in a URL, a log line and a terminal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AccountName(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccountName {
    #[error("must have 1 to 64 ASCII letters, digits, '.', '_', '-', '@' or '+'")]
    Form,
    #[error("is a name that Holdfast uses itself")]
    Reserved,
}

impl AccountName {
    pub fn parse(text: &str) -> Result<Self, InvalidAccountName> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-@+".contains(&b);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) || text == "." || text == ".." {
            return Err(InvalidAccountName::Form);
        }
        if [Principal::anonymous(), Principal::system()]
            .iter()
            .any(|own| own.as_str() == text)
        {
            return Err(InvalidAccountName::Reserved);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As what a user of this name calls.
    pub fn principal(&self) -> Principal {
        Principal::named(self)
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for AccountName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text::parsed(deserializer, "a name", Self::parse)
    }
}

/// What a password or a token is checked against. Never shown, not even where a struct is printed for a programmer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(Arc<str>);

impl SecretHash {
    pub fn new(hash: &str) -> Self {
        Self(hash.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Somebody who logs in with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    pub username: AccountName,
    /// Argon2id, in PHC form.
    pub password: SecretHash,
    /// Rises with every new password, and is never one that an earlier user of this name has had: tokens that were given
    /// before it are worth nothing after it.
    pub password_version: u64,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<StoreId>>,
    #[serde(default)]
    pub disabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What a change of a user sets.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub role: Option<Role>,
    pub stores: StoresChange,
    pub disabled: Option<bool>,
    pub password: Option<SecretHash>,
}

#[derive(Clone, Debug, Default)]
pub enum StoresChange {
    /// A role that works in all stores loses its list.
    #[default]
    Keep,
    All,
    These(Vec<StoreId>),
}

impl User {
    pub fn new(
        username: AccountName,
        password: SecretHash,
        role: Role,
        stores: Option<Vec<StoreId>>,
        now: Timestamp,
    ) -> Result<Self, InvalidStores> {
        check_stores(role, stores.as_deref())?;
        Ok(Self {
            username,
            password,
            password_version: version_at(now),
            role,
            stores,
            disabled: false,
            created_at: now,
            updated_at: now,
        })
    }

    /// The user as the change leaves it.
    pub fn changed(&self, change: &UserChange, now: Timestamp) -> Result<Self, InvalidStores> {
        let role = change.role.unwrap_or(self.role);
        let stores = match &change.stores {
            StoresChange::Keep => self.stores.clone().filter(|_| role < Role::Operator),
            StoresChange::All => None,
            StoresChange::These(stores) => Some(stores.clone()),
        };
        check_stores(role, stores.as_deref())?;
        let (password, password_version) = match &change.password {
            Some(password) => (password, version_at(now).max(self.password_version + 1)),
            None => (&self.password, self.password_version),
        };
        Ok(Self {
            username: self.username.clone(),
            password: password.clone(),
            password_version,
            role,
            stores,
            disabled: change.disabled.unwrap_or(self.disabled),
            created_at: self.created_at,
            updated_at: now,
        })
    }

    pub fn rights(&self) -> Rights {
        Rights::new(self.role, self.stores.as_deref())
    }

    /// Whether it can log in and make other users.
    pub fn governs(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }

    /// Whether nobody could make users any more with `after` in its place, or nobody: there must always be an admin.
    pub fn was_last_admin(&self, after: Option<&Self>, has_other: bool) -> bool {
        self.governs() && !after.is_some_and(Self::governs) && !has_other
    }
}

/// The first version of a password: the moment at which it was set, which tells it from those of earlier users.
fn version_at(now: Timestamp) -> u64 {
    now.as_millis().max(0).unsigned_abs()
}

/// The most stores that an account may be narrowed to.
pub const MAX_STORES: usize = 1000;

/// Why a list of stores does not go with a role; reads as the end of a sentence that begins with the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStores {
    #[error("must name the stores in which a clerk moves stock")]
    Missing,
    #[error("must have 1 to {MAX_STORES} stores")]
    Count,
    #[error("must be left out: {} works in all stores", .0.as_str())]
    Superfluous(Role),
}

/// A clerk has a list, a viewer may have one, who stands above them has none.
pub fn check_stores(role: Role, stores: Option<&[StoreId]>) -> Result<(), InvalidStores> {
    match stores {
        None if role == Role::Clerk => Err(InvalidStores::Missing),
        None => Ok(()),
        Some(_) if role >= Role::Operator => Err(InvalidStores::Superfluous(role)),
        Some(stores) if (1..=MAX_STORES).contains(&stores.len()) => Ok(()),
        Some(_) => Err(InvalidStores::Count),
    }
}

/// A token of a machine: long-lived, named, revocable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceToken {
    pub id: Arc<str>,
    pub name: AccountName,
    /// Of the secret part of the token, which has so much chance in it that a fast hash is enough.
    pub secret: SecretHash,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<StoreId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub created_by: Principal,
}

impl ServiceToken {
    pub fn rights(&self) -> Rights {
        Rights::new(self.role, self.stores.as_deref())
    }

    /// As what a token of this name calls: with a colon, which no user has in its name.
    pub fn principal_of(name: &AccountName) -> Result<Principal, InvalidId> {
        Principal::parse(&format!("token:{name}"))
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(names: &[&str]) -> Vec<StoreId> {
        names.iter().map(|name| StoreId::parse(name).unwrap()).collect()
    }

    fn user(role: Role, of: Option<&[&str]>) -> User {
        let (name, password) = (AccountName::parse("anna").unwrap(), SecretHash::new("hash"));
        User::new(name, password, role, of.map(stores), Timestamp::from_millis(1000)).unwrap()
    }

    #[test]
    fn a_list_of_stores_goes_with_some_roles_only() {
        let one = stores(&["london"]);
        let check = |role, stores: Option<&[StoreId]>| check_stores(role, stores);
        assert_eq!(check(Role::Clerk, None), Err(InvalidStores::Missing));
        assert_eq!(check(Role::Clerk, Some(&[])), Err(InvalidStores::Count));
        assert_eq!(check(Role::Viewer, Some(&[])), Err(InvalidStores::Count));
        for role in [Role::Operator, Role::Admin] {
            assert_eq!(check(role, Some(&one)), Err(InvalidStores::Superfluous(role)));
            assert_eq!(check(role, None), Ok(()));
        }
        for role in [Role::Viewer, Role::Clerk] {
            assert_eq!(check(role, Some(&one)), Ok(()));
        }
        assert_eq!(check(Role::Viewer, None), Ok(()));
    }

    #[test]
    fn a_clerk_that_becomes_an_operator_loses_its_list_and_back_again_needs_one() {
        let to = |role| UserChange {
            role: Some(role),
            ..UserChange::default()
        };
        let now = Timestamp::from_millis(2000);
        let operator = user(Role::Clerk, Some(&["london"]))
            .changed(&to(Role::Operator), now)
            .unwrap();
        assert_eq!((operator.role, &operator.stores), (Role::Operator, &None));
        assert_eq!(operator.changed(&to(Role::Clerk), now), Err(InvalidStores::Missing));
        let change = UserChange {
            stores: StoresChange::These(stores(&["paris"])),
            ..to(Role::Clerk)
        };
        assert_eq!(operator.changed(&change, now).unwrap().stores, Some(stores(&["paris"])));
    }

    #[test]
    fn a_new_password_raises_its_version_also_where_time_stands_still() {
        let before = user(Role::Admin, None);
        let change = UserChange {
            password: Some(SecretHash::new("other")),
            ..UserChange::default()
        };
        let after = before.changed(&change, before.created_at).unwrap();
        assert_eq!(after.password_version, before.password_version + 1);
        let again = after
            .changed(&UserChange::default(), Timestamp::from_millis(9000))
            .unwrap();
        assert_eq!(again.password_version, after.password_version);
    }

    #[test]
    fn no_user_calls_as_a_token_does() {
        let name = AccountName::parse("till").unwrap();
        let token = ServiceToken::principal_of(&name).unwrap();
        assert_eq!(token.as_str(), "token:till");
        assert!(AccountName::parse(token.as_str()).is_err());
    }

    #[test]
    fn each_role_sees_and_moves_what_the_contract_says() {
        let list = stores(&["leeds", "bath", "leeds"]);
        let [own, foreign] = ["leeds", "york"].map(|name| StoreId::parse(name).unwrap());
        let rows = [
            (Role::Viewer, None, [true, true, false, false], false),
            (Role::Viewer, Some(&list[..]), [true, false, false, false], false),
            // Without a list a clerk has no stores, but sees all of them.
            (Role::Clerk, None, [true, true, false, false], false),
            (Role::Clerk, Some(&list[..]), [true, false, true, false], true),
            (Role::Clerk, Some(&[][..]), [false, false, false, false], false),
            (Role::Operator, Some(&list[..]), [true, true, true, true], true),
            (Role::Admin, Some(&list[..]), [true, true, true, true], true),
        ];
        for (role, list, expected, somewhere) in rows {
            let rights = Rights::new(role, list);
            let found = [
                rights.sees(&own),
                rights.sees(&foreign),
                rights.moves(&own),
                rights.moves(&foreign),
            ];
            assert_eq!(found, expected, "{rights:?}");
            assert_eq!(rights.moves_somewhere(), somewhere, "{rights:?}");
        }
    }

    #[test]
    fn a_scope_of_one_store_is_known_as_such() {
        assert_eq!(Scope::default().only(), None);
        assert_eq!(Scope::of(&stores(&["a", "a"])).only(), Some(&stores(&["a"])[0]));
        assert_eq!(Scope::of(&stores(&["a", "b"])).only(), None);
    }
}
