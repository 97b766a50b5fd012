//! Members of organizations in Postgres.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use crate::domain::id::OrganizationId;
use crate::domain::organization::Role;

use super::super::members::{Member, PasswordHash};
use super::super::organizations::OrganizationsError;
use super::admit::unreadable;
use super::audit;

/// Adds a member. A name that is taken breaks the primary key.
const ADD: &str = "INSERT INTO organization_members (organization_id, user_name, role, \
    password_hash) VALUES ($1, $2, $3, $4) RETURNING organization_id, user_name, role, created_at";

const LIST: &str = "SELECT organization_id, user_name, role, created_at \
    FROM organization_members WHERE organization_id = $1 ORDER BY user_name";

const FIND: &str = "SELECT role, password_hash FROM organization_members \
    WHERE organization_id = $1 AND user_name = $2";

const REMOVE: &str = "DELETE FROM organization_members \
    WHERE organization_id = $1 AND user_name = $2 \
    RETURNING organization_id, user_name, role, created_at";

/// Every statement above, for the test that prepares them.
pub const ALL: [&str; 4] = [ADD, LIST, FIND, REMOVE];

pub(super) async fn add(
    pool: &PgPool,
    member: Member,
    password: PasswordHash,
) -> Result<Member, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let row = sqlx::query(ADD)
        .bind(member.organization.uuid())
        .bind(member.name)
        .bind(member.role.as_str())
        .bind(password.0)
        .fetch_one(&mut *transaction)
        .await?;
    let added = read(&row)?;
    transaction.commit().await?;
    Ok(added)
}

pub(super) async fn list(
    pool: &PgPool,
    organization: OrganizationId,
) -> Result<Vec<Member>, sqlx::Error> {
    let rows = sqlx::query(LIST).bind(organization.uuid()).fetch_all(pool).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn find(
    pool: &PgPool,
    organization: OrganizationId,
    name: &str,
) -> Result<Option<(Role, PasswordHash)>, sqlx::Error> {
    let asked = sqlx::query(FIND).bind(organization.uuid()).bind(name);
    let Some(row) = asked.fetch_optional(pool).await? else { return Ok(None) };
    Ok(Some((role(&row, 0)?, PasswordHash(row.try_get(1)?))))
}

pub(super) async fn remove(
    pool: &PgPool,
    organization: OrganizationId,
    name: &str,
) -> Result<Member, OrganizationsError> {
    let mut transaction = audit::begin(pool).await?;
    let asked = sqlx::query(REMOVE).bind(organization.uuid()).bind(name);
    let row = asked.fetch_optional(&mut *transaction).await?;
    let removed = read(&row.ok_or(OrganizationsError::NotFound)?)?;
    transaction.commit().await?;
    Ok(removed)
}

fn role(row: &PgRow, at: usize) -> Result<Role, sqlx::Error> {
    Role::parse(row.try_get(at)?).ok_or_else(|| unreadable("role"))
}

fn read(row: &PgRow) -> Result<Member, sqlx::Error> {
    Ok(Member {
        organization: OrganizationId::from_uuid(row.try_get(0)?),
        name: row.try_get(1)?,
        role: role(row, 2)?,
        created_at: row.try_get(3)?,
    })
}
