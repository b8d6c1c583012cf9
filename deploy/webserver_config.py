"""Who may sign in to Airflow's UI: users, roles and hashed passwords in Airflow's own database.

For a site's LDAP or OAuth, replace this file: Flask AppBuilder's security page has the settings.
"""

from flask_appbuilder.const import AUTH_DB

AUTH_TYPE = AUTH_DB
AUTH_USER_REGISTRATION = False
AUTH_RATE_LIMITED = True
RATELIMIT_STORAGE_URI = "memory://"
WTF_CSRF_ENABLED = True
