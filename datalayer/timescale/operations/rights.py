"""The rights on a relation as the statements that give them again."""

from __future__ import annotations


def grants(relation: str, target: str) -> str:
    """Return a query of the GRANT statements and the column that each is of; those of the owner are not among them.

    Args:
        relation: expression for the relation whose rights are read, a regclass.
        target: name of the relation that the statements are for, quoted, as a literal.
    """
    return f"""
        SELECT format('GRANT %s%s ON %s TO %s%s', privilege_type, '(' || quote_ident(attname) || ')', {target},
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
            CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS command,
            attname AS of_column
        FROM (
            SELECT (aclexplode(relacl)).*, relowner, NULL AS attname FROM pg_class WHERE oid = {relation}
            UNION ALL
            SELECT (aclexplode(attacl)).*, relowner, attname FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
            WHERE attrelid = {relation}
        ) AS granted
        WHERE grantee <> relowner
    """
